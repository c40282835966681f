"""Everything there is to say about one technique: its record, its options, its packages, and what it fits.

Loads the technique, and, for what it fits, those techniques of other kinds that it needs or that need it. A plugin
that fails there is left out of the list; it was not asked for.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

from edgefw.errors import PluginClash, PluginError, PluginNotFound
from edgefw.registry.discovery import PluginRef, canonical, summary
from edgefw.registry.kinds import Kind, kind_of
from edgefw.registry.loading import Registry
from edgefw.registry.options import options, yaml_block
from edgefw.registry.requirements import is_importable, version_of
from edgefw.registry.technique import Technique


@dataclass(frozen=True, kw_only=True)
class Card:
    """One technique, described.

    Attributes:
        ref: its entry point.
        technique: its record.
        summary: the first line of its module's docstring.
        packages: {"name", "version"} of each required package; version None when it is missing.
        fits: kind -> names of the techniques that provide what it needs, for each kind it needs something of.
        yaml: its options, to paste into a recipe.
    """

    ref: PluginRef
    technique: Technique[Any, Any]
    summary: str
    packages: list[dict[str, Any]]
    fits: dict[str, list[str]]
    yaml: str

    def to_json(self) -> dict[str, Any]:
        """The card as plain values."""
        record = self.technique
        return {
            "kind": str(self.ref.kind),
            "name": self.ref.name,
            "distribution": self.ref.distribution,
            "version": self.ref.version,
            "module": self.ref.module,
            "file": str(self.ref.file),
            "summary": self.summary,
            "api": record.api,
            "paper": record.paper,
            "licence": record.licence,
            "provides": sorted(record.provides),
            "needs": sorted(record.needs),
            "packages": self.packages,
            "install": record.install,
            "fits": self.fits,
            "options": [asdict(option) for option in options(record)],
            "yaml": self.yaml,
        }


def card(text: str, registry: Registry | None = None) -> Card:
    """The card of "KIND/NAME", or of "NAME" where only one kind has it.

    Raises:
        PluginNotFound: if nothing of that name is installed.
        PluginClash: if the name alone means more than one technique.
        PluginLoadError: if it cannot be loaded.
    """
    registry = registry or Registry()
    ref = _find(registry, text)
    technique = registry.load_ref(ref)
    assert ref.kind is not None
    return Card(
        ref=ref,
        technique=technique,
        summary=summary(ref),
        packages=[{"name": name, "version": _version(name)} for name in technique.requires],
        fits=fits(technique, registry),
        yaml=yaml_block(ref.kind, technique),
    )


def fits(technique: Technique[Any, Any], registry: Registry) -> dict[str, list[str]]:
    """For each kind the technique needs something of: names that provide it all, by kind."""
    wanted: dict[str, set[str]] = {}
    for word in sorted(technique.needs):
        kind, _, capability = word.partition(".")
        if kind in list(Kind):
            wanted.setdefault(kind, set()).add(capability)
    return {kind: _providers(registry, Kind(kind), words) for kind, words in wanted.items()}


def _providers(registry: Registry, kind: Kind, words: set[str]) -> list[str]:
    names = []
    for ref in registry.refs(kind):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                provided = registry.load_ref(ref).provides
        except PluginError:
            continue
        if words <= provided:
            names.append(ref.qualified if ref.status == "clash" else ref.name)
    return names


def _find(registry: Registry, text: str) -> PluginRef:
    if "/" in text:
        kind, _, name = text.partition("/")
        return registry.find(kind_of(kind), name)
    plain = canonical(text.rpartition(":")[2])
    kinds = list(dict.fromkeys(ref.kind for ref in registry.refs() if ref.kind and canonical(ref.name) == plain))
    if len(kinds) == 1:
        return registry.find(kinds[0], text)
    if kinds:
        raise PluginClash(
            f"'{text}' is a {' and a '.join(kinds)}. Write {' or '.join(f'{kind}/{text}' for kind in kinds)}."
        )
    from difflib import get_close_matches

    close = get_close_matches(plain, {f"{canonical(ref.name)}": ref for ref in registry.refs() if ref.kind}, n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise PluginNotFound(f"no technique called '{text}' is installed.{hint} See: edgefw list-plugins")


def _version(package: str) -> str | None:
    return version_of(package) or ("installed" if is_importable(package) else None)
