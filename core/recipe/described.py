"""What the header comment of a shipped recipe says, and which keys the recipe leaves to the user."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from edgefw.recipe import shipped
from edgefw.recipe.base_recipe import read_values
from edgefw.recipe.keys import mandatory_paths, written

_LABEL = re.compile(r"[A-Z][a-z]+:( |$)")


@dataclass(frozen=True, kw_only=True)
class ShippedRecipe:
    """A recipe of the wheel.

    Attributes:
        name: what `edgefw run` is given.
        summary: the first sentence of the header comment.
        needs: what the header's `Needs:` line says: data, weights, hardware; empty without such a line.
        mandatory: keys that the recipe, or its base, leaves to the user (`???`).
        file: the YAML file.
    """

    name: str
    summary: str
    needs: str
    mandatory: tuple[str, ...]
    file: Path


def shipped_recipes() -> list[ShippedRecipe]:
    """All shipped recipes, by name."""
    return [_described(file) for file in sorted(shipped.folder().glob("*.yaml"))]


def header_of(text: str) -> tuple[str, ...]:
    """The comment lines at the top of a YAML text, without the hashes."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return tuple(lines)


def _described(file: Path) -> ShippedRecipe:
    text = file.read_text(encoding="utf-8")
    lines = header_of(text)
    prose = " ".join(itertools.takewhile(lambda line: not _LABEL.match(line), lines)).strip()
    end = prose.find(". ")
    return ShippedRecipe(
        name=file.stem,
        summary=prose if end < 0 else prose[: end + 1],
        needs=" ".join(line.partition(":")[2].strip() for line in lines if line.startswith("Needs:")),
        mandatory=tuple(written(path) for path in mandatory_paths(read_values(text, file.stem, file)[0])),
        file=file,
    )
