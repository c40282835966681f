"""The recipes and assets that come with edgefw: names, files, and what the header comment of a recipe says.

It reads the package `edgefw.recipes` and knows no key of a recipe beyond its leading comment.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from edgefw.errors import RecipeError
from edgefw.recipe.keys import mandatory_paths, written
from edgefw.recipe.yaml_text import parse

_LABEL = re.compile(r"[A-Z][a-z]+:( |$)")


@dataclass(frozen=True, kw_only=True)
class ShippedRecipe:
    """A recipe of the wheel.

    Attributes:
        name: what `edgefw run` is given.
        summary: the first sentence of the header comment.
        needs: what the header's `Needs:` line says: data, weights, hardware; empty without such a line.
        mandatory: keys that the recipe leaves to the user (`???`).
        file: the YAML file.
    """

    name: str
    summary: str
    needs: str
    mandatory: tuple[str, ...]
    file: Path


@cache
def folder() -> Path:
    """The folder of shipped recipes."""
    return Path(str(files("edgefw.recipes")))


def shipped_recipes() -> list[ShippedRecipe]:
    """All shipped recipes, by name."""
    return [_described(file) for file in sorted(folder().glob("*.yaml"))]


def shipped_names() -> list[str]:
    """The names that `edgefw run NAME` takes."""
    return [file.stem for file in sorted(folder().glob("*.yaml"))]


def asset(path: str) -> Path:
    """The absolute path of a shipped asset, given relative to `recipes/assets/`.

    Raises:
        RecipeError: if there is no such asset, or the path leads out of the assets.
    """
    root = folder() / "assets"
    found = (root / path).resolve()
    if not path or not found.is_relative_to(root.resolve()) or not found.exists():
        known = sorted(file.relative_to(root).as_posix() for file in root.glob("*/*")) if root.is_dir() else []
        raise RecipeError(f"no shipped asset '{path}'. Shipped: {', '.join(known) or 'none'}.")
    return found


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
        mandatory=tuple(written(path) for path in mandatory_paths(parse(text, file.stem)[0])),
        file=file,
    )
