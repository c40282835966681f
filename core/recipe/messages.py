"""What is wrong with a recipe, in words: key path, value, what is allowed, the nearest spelling.

Pydantic finds the problems, this module words them; all problems of a recipe become one message. It knows no key and
no technique: whatever model it is given, it reads the choices from.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edgefw.recipe.keys import Path, field_at, holds, keys_of, models_at, value_at, written

_LONGEST = 80


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (a key path, perhaps empty), and the sentence that says what."""

    path: Path
    text: str


def shown(value: Any) -> str:
    """A value as a YAML author would recognise it, at most 80 characters long."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing when no known word is near; `_` and `-` are equal, case does not count."""
    plain = {_simplified(name): name for name in known}
    near = difflib.get_close_matches(_simplified(word), plain, n=1, cutoff=0.6)
    return f" Did you mean '{plain[near[0]]}'?" if near else ""


def _simplified(word: str) -> str:
    return word.replace("_", "-").lower()


def one_message(source: str, problems: Sequence[Problem], places: Mapping[Path, str]) -> str:
    """All problems as one message: on one line when there is one, else one line each below a headline."""
    lines = []
    for problem in problems:
        place = _place(problem.path, places)
        where = written(problem.path)
        lines.append(f"{where}: {problem.text}{place}" if where else f"{problem.text}{place}")
    if len(lines) == 1:
        return f"{source}: {lines[0]}"
    return "\n".join([f"{source}: {len(lines)} problems", *(f"  {line}" for line in lines)])


def _place(path: Path, places: Mapping[Path, str]) -> str:
    for end in range(len(path), 0, -1):
        if path[:end] in places:
            return f" ({places[path[:end]]})"
    return ""


def problems_in(error: ValidationError, model: type[BaseModel], data: Any, prefix: Path = ()) -> list[Problem]:
    """The problems that pydantic found in `data`, worded; members of a union are joined into one problem."""
    grouped: dict[Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        grouped.setdefault(_real_path(details, data), []).append(details)
    deepest = [path for path in grouped if not _is_shadowed(path, grouped)]
    return [Problem(prefix + path, _worded(grouped[path], path, model, data)) for path in deepest]


def _is_shadowed(path: Path, grouped: Mapping[Path, object]) -> bool:
    """A union that refuses a value as a whole adds nothing where a member says which part of it is wrong."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in grouped)


def _real_path(details: ErrorDetails, data: Any) -> Path:
    """The location without pydantic's names for the members of a union, which are no keys of the data."""
    path: list[str | int] = []
    last = len(details["loc"]) - 1
    for index, part in enumerate(details["loc"]):
        if holds(value_at(data, path), part) or (index == last and details["type"] == "missing"):
            path.append(part)
    return tuple(path)


def _worded(found: Sequence[ErrorDetails], path: Path, model: type[BaseModel], data: Any) -> str:
    first = found[0]
    kind = first["type"]
    if kind == "missing":
        return _missing(path, model, data)
    if kind == "extra_forbidden":
        return _unknown_key(path, model)
    if kind in ("value_error", "assertion_error"):
        return str(first.get("ctx", {}).get("error", first["msg"]))
    value = first["input"]
    musts = list(dict.fromkeys(_must(details) for details in found))
    text = f"must be {' or '.join(musts)}, got {shown(value)}."
    return text + _hint(found, value, path, model)


def _missing(path: Path, model: type[BaseModel], data: Any) -> str:
    if isinstance(path[-1], int):
        return f"an item is missing, got {shown(value_at(data, path[:-1]))}."
    field = field_at(model, path)
    return f"is required: {field.description}." if field and field.description else "is required."


def _unknown_key(path: Path, model: type[BaseModel]) -> str:
    known = [key for owner in models_at(model, path[:-1]) for key in keys_of(owner)]
    allowed = ", ".join(known) if known else "none"
    return f"unknown key.{did_you_mean(str(path[-1]), known)} Allowed: {allowed}."


def _must(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if details["type"] in _WORDS:
        return _WORDS[details["type"]](context)
    message = details["msg"]
    return message.removeprefix("Input should be ").removeprefix("Value should ").strip()


def _hint(found: Sequence[ErrorDetails], value: Any, path: Path, model: type[BaseModel]) -> str:
    kinds = {details["type"] for details in found}
    field = field_at(model, path)
    if isinstance(value, str):
        choices = [word for details in found for word in re.findall(r"'([^']*)'", str(_expected(details)))]
        if choices:
            return did_you_mean(value, choices)
        if kinds & {"int_type", "float_type", "bool_type"} and re.fullmatch(r"[-+.\deE]+|true|false", value):
            return " Remove the quotes."
        if kinds & {"model_type", "dict_type"} and any("name" in keys_of(owner) for owner in models_at(model, path)):
            return f" Write {{name: {value}}}."
    if "string_type" in kinds and isinstance(value, (bool, int, float)):
        return " Put it in quotes."
    if kinds == {"int_type"} and isinstance(value, float) and value.is_integer():
        return f" Write {int(value)}."
    if "string_pattern_mismatch" in kinds and field and field.description:
        return f" It is: {field.description}."
    return ""


def _expected(details: ErrorDetails) -> Any:
    return details.get("ctx", {}).get("expected", "")


def _items(context: Mapping[str, Any], word: str, key: str) -> str:
    count = context[key]
    return f"{word} {count} item{'' if count == 1 else 's'} long"


_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "string_type": lambda _: "text",
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "bool_type": lambda _: "true or false",
    "list_type": lambda _: "a list",
    "tuple_type": lambda _: "a list",
    "set_type": lambda _: "a list",
    "dict_type": lambda _: "a mapping of keys to values",
    "model_type": lambda _: "a mapping of keys to values",
    "none_required": lambda _: "null",
    "finite_number": lambda _: "a finite number",
    "greater_than": lambda context: f"greater than {context['gt']}",
    "greater_than_equal": lambda context: f"at least {context['ge']}",
    "less_than": lambda context: f"less than {context['lt']}",
    "less_than_equal": lambda context: f"at most {context['le']}",
    "multiple_of": lambda context: f"a multiple of {context['multiple_of']}",
    "literal_error": lambda context: f"one of {context['expected'].replace(' or ', ', ')}",
    "enum": lambda context: f"one of {context['expected'].replace(' or ', ', ')}",
    "string_pattern_mismatch": lambda context: f"text of the form {context['pattern']}",
    "string_too_short": lambda context: f"at least {context['min_length']} characters long",
    "string_too_long": lambda context: f"at most {context['max_length']} characters long",
    "too_short": lambda context: _items(context, "at least", "min_length"),
    "too_long": lambda context: _items(context, "at most", "max_length"),
    "json_invalid": lambda context: f"valid Unicode text ({context['error']})",
}
