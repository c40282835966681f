"""The licence of weights: the option that states it, and what a model card says.

A model card is the README.md of a model's folder, or of its repository in the hub's local cache, with `license` in the
YAML block at its top (the hub's spelling). Nothing is downloaded for it, and no text of a licence is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, StringConstraints

from edgefw.contracts.licence import UNKNOWN

Stated = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

Licence = Annotated[
    Stated | None,
    # words for the provenance: left out of what is hashed, since they change no answer
    Field(exclude=True, description="licence of the weights, for the provenance; null: what their source says"),
]
"""The option of a technique that loads weights; its default is None."""

CARD = "README.md"
_FENCE = "---"


def card_licence(folder: Path) -> str:
    """What the model card in a folder says; "unknown" without a card, or where it says nothing."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return UNKNOWN
    return _named(_front_matter(text))


def cached_card_licence(repository: str) -> str:
    """What the model card of a hub repository says, where the local cache has it; "unknown" otherwise."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, CARD)
    except HFValidationError:
        return UNKNOWN
    return card_licence(Path(found).parent) if isinstance(found, str) else UNKNOWN


def _front_matter(text: str) -> Mapping[str, Any]:
    """The YAML block between the first line and the next line of three dashes; empty without one."""
    first, *rest = text.splitlines() or [""]
    if first.strip() != _FENCE or _FENCE not in (lines := [line.rstrip() for line in rest]):
        return {}
    try:
        block = yaml.safe_load("\n".join(lines[: lines.index(_FENCE)]))
    except yaml.YAMLError:
        return {}
    return block if isinstance(block, Mapping) else {}


def _named(card: Mapping[str, Any]) -> str:
    """The card's licence; one that the hub calls "other" by its own name."""
    stated = card.get("license")
    if stated == "other" and card.get("license_name"):
        stated = card["license_name"]
    several = stated if isinstance(stated, list) else [stated]
    return ", ".join(str(each).strip() for each in several if each) or UNKNOWN
