"""The recipes and assets that come with edgefw: names and files. It knows no key of a recipe."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from edgefw.errors import RecipeError


@cache
def folder() -> Path:
    """The folder of shipped recipes."""
    return Path(str(files("edgefw.recipes")))


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
