"""How a change finds what it changes, on the command line and in a file over its base.

    train.distil / train: {distil: ...}      an item of a list by its `name`
    train.0      / train: {"0": ...}         ... or by its position

Naming another technique drops the options of the former one; `null` for an item of a list, or for a modality, takes it
away. This module knows the recipe's schema and no technique.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from edgefw.errors import RecipeError
from edgefw.recipe.keys import Path, keys_of, models_at, value_at, written
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


def is_removable(path: Path) -> bool:
    """Whether a section may simply not be there: an item of a list of sections, or of a mapping with free keys."""
    return bool(path) and not models_at(RunConfig, path[:-1]) and bool(models_at(RunConfig, path))


def remove(data: dict[str, Any], paths: Iterable[Path], places: dict[Path, str]) -> None:
    """Take items away, and let the places of what comes after them in a list move up; both are changed in place."""
    for path in sorted(paths, key=_from_the_back, reverse=True):
        parent, step = value_at(data, path[:-1]), path[-1]
        del parent[step]
        moved = {
            key: text for key, text in places.items() if key[: len(path) - 1] == path[:-1] and len(key) >= len(path)
        }
        for key in moved:
            del places[key]
        places |= {_after(key, path): text for key, text in moved.items() if key[len(path) - 1] != step}


def _from_the_back(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple((part, "") if isinstance(part, int) else (0, part) for part in path)


def _after(key: Path, removed: Path) -> Path:
    """A key path once the item at `removed` is gone."""
    at, step = len(removed) - 1, removed[-1]
    part = key[at]
    if isinstance(part, int) and isinstance(step, int) and part > step:
        return (*key[:at], part - 1, *key[at + 1 :])
    return key
