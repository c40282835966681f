"""How a change finds what it changes, on the command line and in a file over its base.

    train.distil / train: {distil: ...}      an item of a list by its `name`
    train.0      / train: {"0": ...}         ... or by its position

Naming another technique drops the options of the former one. This module knows the recipe's schema and no technique.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from edgefw.errors import RecipeError
from edgefw.recipe.keys import Path, keys_of, models_at, written
from edgefw.recipe.messages import did_you_mean
from edgefw.recipe.schema import Piece, RunConfig


def position(items: Sequence[Any], part: str, path: Path, source: str, appending: bool = False) -> int:
    """Where in a list the item called `part` is; with `appending`, one past the end counts.

    Args:
        items: the list.
        part: the item's `name`, or its position as digits.
        path: the list's key path, for messages.
        source: what asks, messages start with it.
        appending: whether the position may be one past the end.

    Raises:
        RecipeError: if there is no such item, or several of that name.
    """
    if part.isdecimal() and part.isascii():
        index = int(part)
        if index < len(items) + appending:
            return index
        reach = f"0 to {len(items) - 1}" if items else "none, it is empty"
        raise RecipeError(f"{source}: {written(path)} has no item {part}; its items: {reach}.")
    names = [str(item.get("name", "")) if isinstance(item, dict) else "" for item in items]
    if names.count(part) == 1:
        return names.index(part)
    if part in names:
        raise RecipeError(f"{source}: {written(path)} names '{part}' twice; use its position.")
    listed = ", ".join(f"{index} ({name})" if name else str(index) for index, name in enumerate(names)) or "none"
    raise RecipeError(
        f"{source}: {written(path)} is a list without an item '{part}'."
        f"{did_you_mean(part, filter(None, names))} Its items: {listed}."
    )


def forget_options(piece: dict[str, Any], path: Path, name: Any, keep: Collection[str | int] = ()) -> list[str]:
    """Drop a technique's options when another `name` takes its place; the recipe's own keys (`head`, `weight`) stay.

    Args:
        piece: the section as it stands, changed in place.
        path: its key path.
        name: the name that is about to stand there.
        keep: options that stay.

    Returns:
        The keys that were dropped.
    """
    models = models_at(RunConfig, path)
    if not any(issubclass(model, Piece) for model in models) or piece.get("name") == name:
        return []
    known = {key for model in models for key in keys_of(model)}
    dropped = [key for key in piece if key not in known and key not in keep]
    for key in dropped:
        del piece[key]
    return dropped
