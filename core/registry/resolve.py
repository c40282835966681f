"""Which entry point a name means. Two distributions with one name are an error, never a race with a winner.

Knows names only, and refuses to know whether what they name can be imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from edgefw.errors import PluginClash, PluginNotFound
from edgefw.registry.discovery import ALLOW_LIST, PluginRef, canonical, installed, short_name
from edgefw.registry.kinds import Kind

FEW = 12
"""So many names are listed where none is near; more would bury the message."""


def resolve(refs: Sequence[PluginRef], kind: Kind, name: str) -> PluginRef:
    """The entry point of that kind that `name` means; `_` and `-` are equal; "acme:cosine" names the distribution.

    Raises:
        PluginNotFound: if nobody offers it.
        PluginClash: if more than one distribution does.
    """
    distribution, _, plain = name.rpartition(":")
    offers = [ref for ref in refs if ref.kind is kind and canonical(ref.name) == canonical(plain)]
    if distribution:
        offers = _from_distribution(offers, distribution)
    if not offers:
        raise PluginNotFound(_not_found(refs, kind, name, plain))
    if len(offers) > 1:
        raise PluginClash(_clash(offers, kind, plain))
    return offers[0]


def _from_distribution(offers: Sequence[PluginRef], word: str) -> list[PluginRef]:
    """Offers of a distribution, by full name, else by the name without `edgefw-`."""
    full = [ref for ref in offers if canonical(ref.distribution) == canonical(word)]
    return full or [ref for ref in offers if short_name(ref.distribution) == canonical(word)]


def _clash(offers: Sequence[PluginRef], kind: Kind, name: str) -> str:
    sources = " and ".join(ref.source for ref in offers)
    spellings = [ref.qualified for ref in offers]
    if len({canonical(ref.distribution) for ref in offers}) < len(offers):
        return f"{kind} '{name}' is offered more than once by {sources}. Uninstall it, or ask its author."
    if len(set(spellings)) < len(spellings):
        spellings = [f"{ref.distribution}:{ref.name}" for ref in offers]
    return f"{kind} '{name}' is offered by {sources}. Write {' or '.join(spellings)}."


def _not_found(refs: Sequence[PluginRef], kind: Kind, name: str, plain: str) -> str:
    sentences = [f"no {kind} called '{name}' is installed."]
    offered = {canonical(ref.name): ref for ref in refs if ref.kind is kind}
    close = get_close_matches(canonical(plain), offered, n=3)
    if ":" in name and canonical(plain) in offered:
        sentences.append(f"Installed: {', '.join(sorted(_qualified(refs, kind, plain)))}.")
    elif close:
        sentences.append(f"Did you mean {' or '.join(offered[match].name for match in close)}?")
    elif 0 < len(offered) <= FEW:
        sentences.append(f"Installed: {', '.join(ref.name for ref in offered.values())}.")
    kinds = [
        ref.kind.value for ref in refs if ref.kind and ref.kind is not kind and canonical(ref.name) == canonical(plain)
    ]
    if kinds:
        sentences.append(f"There is a {' and a '.join(dict.fromkeys(kinds))} of that name.")
    hidden = _hidden(refs, kind, plain)
    if hidden:
        sentences.append(f"{ALLOW_LIST} hides {', '.join(hidden)}, which offers it.")
    sentences.append(f"See: edgefw list-plugins --kind {kind}")
    return " ".join(sentences)


def _qualified(refs: Sequence[PluginRef], kind: Kind, plain: str) -> list[str]:
    return [ref.qualified for ref in refs if ref.kind is kind and canonical(ref.name) == canonical(plain)]


def _hidden(refs: Sequence[PluginRef], kind: Kind, plain: str) -> list[str]:
    """Distributions that offer the name, and that the allow-list hides."""
    seen = {canonical(ref.distribution) for ref in refs}
    offers = [ref for ref in installed(kind, everything=True) if canonical(ref.name) == canonical(plain)]
    return sorted(ref.distribution for ref in offers if canonical(ref.distribution) not in seen)
