"""The file behind the name or path of a recipe, and its text. It knows no key of a recipe."""

from __future__ import annotations

import os
from pathlib import Path

from edgefw.errors import RecipeError
from edgefw.recipe import shipped
from edgefw.recipe.messages import did_you_mean

_LARGEST = 4 * 2**20


def find(name_or_path: str, start: Path | None = None) -> tuple[Path, bool]:
    """The file, and whether it is a shipped recipe; a shipped name wins over a path.

    Args:
        name_or_path: as the user gave it.
        start: folder that a relative path starts from; None: the working directory.

    Raises:
        RecipeError: if there is neither; the message names the nearest shipped recipe.
    """
    names = shipped.shipped_names()
    if name_or_path in names:
        return shipped.folder() / f"{name_or_path}.yaml", True
    try:
        path = Path(start or "", os.path.expanduser(name_or_path))
        found = path.exists()
    except (OSError, ValueError) as error:
        raise RecipeError(f"{name_or_path}: no path of a recipe ({error}).") from error
    if not found:
        listed = ", ".join(names) or "none"
        near = did_you_mean(name_or_path, names)
        raise RecipeError(f"{name_or_path}: no such file, and no shipped recipe.{near} Shipped: {listed}.")
    return path, False


def text_of(path: Path, source: str) -> str:
    """The text of a recipe file.

    Raises:
        RecipeError: if it is a folder, too large, unreadable or no text; the message starts with `source`.
    """
    if path.is_dir():
        inside = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        hint = f" Did you mean '{inside[0]}'?" if inside else ""
        raise RecipeError(f"{source}: this is a folder, and a recipe is a YAML file.{hint}")
    try:
        if path.is_file() and path.stat().st_size > _LARGEST:
            raise RecipeError(f"{source}: {path.stat().st_size} bytes; a recipe is a short YAML file.")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{source}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{source}: not a text file (byte {error.start} is no UTF-8).") from error
    if "\0" in text:
        raise RecipeError(f"{source}: not a text file (it holds a zero byte).")
    return text
