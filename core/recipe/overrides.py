"""Command-line overrides: `key=value` on top of a recipe, before interpolation and validation.

    train.0.batch=8                  list items by position (also train[0].batch)
    train.distil.batch=8             ... or by their `name`
    modalities.depth.encoding=jet    sections that the recipe leaves out are made
    curate=null                      a value replaces what stood there, mappings and lists included

Naming another technique (`student.name=acme`) drops the options of the former one, unless the command line gave them:
they belonged to a technique that is no longer there. This module knows the recipe's schema and no technique.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgefw.errors import RecipeError
from edgefw.recipe.keys import Path, field_at, keys_of, models_at, written
from edgefw.recipe.messages import did_you_mean, shown
from edgefw.recipe.schema import Piece, RunConfig
from edgefw.recipe.yaml_text import parse_value

_KEY = re.compile(r"[^\s.\[\]=]+(\.[^\s.\[\]=]+|\[\d+\])*")


@dataclass(frozen=True)
class Override:
    """One `key=value` as typed: the parts of its key, and its value."""

    text: str
    parts: tuple[str, ...]
    value: Any


def parse_override(text: str) -> Override:
    """Split and read one override.

    Raises:
        RecipeError: if it is not of the form key=value.
    """
    key, equals, value = text.partition("=")
    if not equals or not _KEY.fullmatch(key.strip()):
        raise RecipeError(f"override '{text}': not of the form key=value, such as train.0.batch=8.")
    if not value.strip():
        raise RecipeError(f"override '{text}': no value. Write {key}=null for none, or {key}=\"''\" for empty text.")
    parts = tuple(part for part in re.split(r"[.\[\]]+", key.strip()) if part)
    return Override(text=text, parts=parts, value=parse_value(value, f"override '{text}'"))


def apply_overrides(data: dict[str, Any], texts: Iterable[str]) -> dict[Path, str]:
    """Change `data` in place.

    Returns:
        `command line` by key path, for messages.

    Raises:
        RecipeError: if an override is malformed or its key leads nowhere.
    """
    given: dict[Path, str] = {}
    for override in map(parse_override, texts):
        path = _set(data, override, given)
        given[path] = "command line"
    return given


def _set(data: dict[str, Any], override: Override, given: dict[Path, str]) -> Path:
    path: Path = ()
    here: Any = data
    for part in override.parts[:-1]:
        step = _step(here, part, path, override)
        path = (*path, step)
        if isinstance(here, dict) and here.get(str(step)) is None:
            here[str(step)] = _default(path)
            given[path] = "command line"
        here = here[step]
    last = _step(here, override.parts[-1], path, override, appending=True)
    if last == "name" and isinstance(here, dict):
        _forget_options(here, path, override.value, given)
    if isinstance(last, int) and last == len(here):
        here.append(override.value)
    else:
        here[last] = override.value
    return (*path, last)


def _step(here: Any, part: str, path: Path, override: Override, appending: bool = False) -> str | int:
    """The key or the list position that `part` names in the container `here`."""
    if isinstance(here, dict):
        return part
    if isinstance(here, list):
        return _position(here, part, path, override, appending)
    raise RecipeError(
        f"override '{override.text}': {written(path)} is {shown(here)}, which has no key '{part}'. "
        f"Give the whole section: {written(path)}={{...}}."
    )


def _position(items: list[Any], part: str, path: Path, override: Override, appending: bool) -> int:
    if part.isdecimal() and part.isascii():
        index = int(part)
        if index < len(items) + appending:
            return index
        reach = f"0 to {len(items) - 1}" if items else "none, it is empty"
        raise RecipeError(f"override '{override.text}': {written(path)} has no item {part}; its items: {reach}.")
    names = [str(item.get("name", "")) if isinstance(item, dict) else "" for item in items]
    if names.count(part) == 1:
        return names.index(part)
    if part in names:
        raise RecipeError(f"override '{override.text}': {written(path)} names '{part}' twice; use its position.")
    listed = ", ".join(f"{index} ({name})" if name else str(index) for index, name in enumerate(names)) or "none"
    raise RecipeError(
        f"override '{override.text}': {written(path)} is a list without an item '{part}'."
        f"{did_you_mean(part, filter(None, names))} Its items: {listed}."
    )


def _default(path: Path) -> Any:
    """What a section is when the recipe does not write it, as plain values."""
    field = field_at(RunConfig, path)
    default = field.get_default(call_default_factory=False) if field and not field.is_required() else None
    if isinstance(default, list):
        return [item.model_dump(mode="json") for item in default]
    return default.model_dump(mode="json") if isinstance(default, Piece) else {}


def _forget_options(piece: dict[str, Any], path: Path, name: Any, given: Iterable[Path]) -> None:
    models = models_at(RunConfig, path)
    if not any(issubclass(model, Piece) for model in models) or piece.get("name") == name:
        return
    kept = {key for model in models for key in keys_of(model)} | _given_below(path, given)
    for key in piece.keys() - kept:
        del piece[key]


def _given_below(path: Path, given: Iterable[Path]) -> set[str | int]:
    return {other[len(path)] for other in given if len(other) > len(path) and other[: len(path)] == path}
