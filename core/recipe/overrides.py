"""Command-line overrides: `key=value` on top of a recipe, before interpolation and validation.

    train.0.batch=8                  list items by position (also train[0].batch)
    train.distil.batch=8             ... or by their `name`
    modalities.depth.encoding=jet    sections that the recipe leaves out are made
    curate=null                      a value replaces what stood there, mappings and lists included
    train.align=null                 an item of a list, or a modality, is taken away (by the reader, after all overrides)

Naming another technique (`student.name=acme`) drops the options of the former one, unless the command line gave them:
they belonged to a technique that is no longer there. This module knows the recipe's schema and no technique.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgefw.errors import RecipeError
from edgefw.recipe.addressing import forget_options, is_removable, position
from edgefw.recipe.keys import Path, field_at, holds, written
from edgefw.recipe.messages import shown
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
        _refuse_base(override)
        path = _set(data, override, given)
        given[path] = "command line"
    return given


def _refuse_base(override: Override) -> None:
    if override.parts[0] == "base":
        raise RecipeError(
            f"override '{override.text}': a base is written in the file. Name that recipe instead: edgefw run RECIPE."
        )


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
        forget_options(here, path, override.value, keep=_given_below(path, given))
    if override.value is None and is_removable((*path, last)) and not holds(here, last):
        raise RecipeError(f"override '{override.text}': null takes {written((*path, last))} away, and it is not there.")
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
        return position(here, part, path, f"override '{override.text}'", appending)
    raise RecipeError(
        f"override '{override.text}': {written(path)} is {shown(here)}, which has no key '{part}'. "
        f"Give the whole section: {written(path)}={{...}}."
    )


def _default(path: Path) -> Any:
    """What a section is when the recipe does not write it, as plain values."""
    field = field_at(RunConfig, path)
    default = field.get_default(call_default_factory=False) if field and not field.is_required() else None
    if isinstance(default, list):
        return [item.model_dump(mode="json") for item in default]
    return default.model_dump(mode="json") if isinstance(default, Piece) else {}


def _given_below(path: Path, given: Iterable[Path]) -> set[str | int]:
    return {other[len(path)] for other in given if len(other) > len(path) and other[: len(path)] == path}
