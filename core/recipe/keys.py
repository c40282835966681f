"""Key paths of a recipe, and what the schema says about one: which model stands there, which default it has.

A key path is a tuple of names and list positions; in messages it is written `train[0].losses[1].temperature`.
This module knows pydantic models and nothing of YAML, files or techniques.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Path = tuple[str | int, ...]

MANDATORY = "???"
"""How a recipe spells a value that it leaves to the user."""


def written(path: Sequence[str | int]) -> str:
    """The path as messages and docs write it: `train[0].losses[1].weight`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def value_at(data: Any, path: Sequence[str | int]) -> Any:
    """The value at a path of plain containers, or None where there is none."""
    for part in path:
        if not holds(data, part):
            return None
        data = data[part]
    return data


def holds(container: Any, part: str | int) -> bool:
    """Whether a plain value is a mapping with that key, or a list with that position."""
    if isinstance(container, list):
        return isinstance(part, int) and 0 <= part < len(container)
    return isinstance(container, Mapping) and part in container


def mandatory_paths(value: Any, path: Path = ()) -> list[Path]:
    """Where plain values say `???`."""
    if isinstance(value, Mapping):
        return [found for key, child in value.items() for found in mandatory_paths(child, (*path, key))]
    if isinstance(value, list):
        return [found for index, child in enumerate(value) for found in mandatory_paths(child, (*path, index))]
    return [path] if value == MANDATORY else []


def models_at(root: type[BaseModel], path: Sequence[str | int]) -> list[type[BaseModel]]:
    """The models that may stand at a path; empty where plain values stand, or nothing."""
    return [found for found in _types_at(root, path) if isinstance(found, type) and issubclass(found, BaseModel)]


def field_at(root: type[BaseModel], path: Sequence[str | int]) -> FieldInfo | None:
    """The field that a path ends in, or None for items of lists and keys that no model knows."""
    if not path or not isinstance(path[-1], str):
        return None
    for model in models_at(root, path[:-1]):
        for name, field in model.model_fields.items():
            if path[-1] in (name, field.alias):
                return field
    return None


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that a mapping of this model may have."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _types_at(root: Any, path: Sequence[str | int]) -> list[Any]:
    level = list(_members(root))
    for part in path:
        level = [found for annotation in level for child in _children(annotation, part) for found in _members(child)]
    return level


def _members(annotation: Any) -> Iterator[Any]:
    """What an annotation may be, without `Annotated`, `Optional` and unions."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _children(annotation: Any, part: str | int) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if part in (name, field.alias):
                yield field.annotation
        return
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is dict and isinstance(part, str):
        yield inner[1]
    elif origin is tuple and isinstance(part, int) and inner[-1:] != (Ellipsis,):
        yield from inner[part : part + 1]
    elif origin in (list, tuple, set, frozenset) and isinstance(part, int):
        yield inner[0]
