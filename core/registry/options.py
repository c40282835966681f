"""A technique's options as rows, and as a YAML block to paste into a recipe.

Everything comes from the technique's pydantic config, the only schema there is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgefw.registry.kinds import Kind
from edgefw.registry.technique import Technique

REQUIRED = "???"
"""How a recipe spells a value that must be given."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./ -]*[A-Za-z0-9_./-]|[A-Za-z]")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What YAML takes for the end of a line, or does not take at all; all of it can be escaped."""
_WORDS_OF_YAML = {"true", "false", "yes", "no", "on", "off", "null", "none", "nan", "inf", "y", "n"}
_PLACES = {
    Kind.TEACHER: ("teacher:", "  "),
    Kind.STUDENT: ("student:", "  "),
    Kind.PROJECTOR: ("head:", "  "),
    Kind.LOSS: ("losses:", "  - "),
    Kind.SCHEME: ("scheme:", "  "),
    Kind.SAMPLER: ("sampler:", "  "),
    Kind.VIEW: ("views:", "  "),
    Kind.QUANTIZER: ("quantizers:", "  - "),
    Kind.MODALITY: ("modalities:\n  {name}:", "    "),
    Kind.DATASET: ("data:", "  "),
    Kind.BACKEND: ("backends:", "  - "),
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: its name, its type in words, its default as a plain value, and the sentence that describes it."""

    name: str
    type: str
    required: bool
    default: Any
    description: str


def options(technique: Technique[Any, Any]) -> list[Option]:
    """The options of a technique, in the order its config declares them."""
    schema = technique.config.model_json_schema()
    rows = []
    for name, field in technique.config.model_fields.items():
        part = schema["properties"][field.alias or name]
        required = field.is_required()
        default = None if required else _plain(field.get_default(call_default_factory=True))
        text = type_in_words(part, schema.get("$defs", {}))
        rows.append(
            Option(name=name, type=text, required=required, default=default, description=field.description or "")
        )
    return rows


def yaml_block(kind: Kind, technique: Technique[Any, Any]) -> str:
    """The technique in its place of a recipe, every option with its default, its type and what it does."""
    heading, indent = _PLACES[kind]
    below = " " * len(indent)
    pairs = [(f"name: {technique.name}", "")]
    for option in options(technique):
        value = REQUIRED if option.required else yaml_value(option.default)
        pairs.append((f"{option.name}: {value}", f"# {option.type}: {option.description}".rstrip(": ")))
    width = max(len(text) for text, _ in pairs)
    lines = [f"{text.ljust(width)}  {comment}".rstrip() for text, comment in pairs]
    return "\n".join([heading.format(name=technique.name), indent + lines[0], *(below + line for line in lines[1:])])


def yaml_value(value: Any) -> str:
    """A plain value as one line of YAML that reads back as the same value."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yaml_value(str(key))}: {yaml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(yaml_value(item) for item in value) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def type_in_words(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON schema as a reader says it: "l1 | mse | cosine", "number > 0", "text or null"."""
    if "$ref" in schema:
        return type_in_words(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    if "enum" in schema:
        return " | ".join(yaml_value(value) for value in schema["enum"])
    if "const" in schema:
        return yaml_value(schema["const"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(type_in_words(part, definitions) for part in schema[key])
    if schema.get("type") == "array":
        return _array(schema, definitions)
    return _scalar(schema)


def _array(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        return "[" + ", ".join(type_in_words(part, definitions) for part in schema["prefixItems"]) + "]"
    return f"list of {type_in_words(schema.get('items', {}), definitions)}"


def _scalar(schema: Mapping[str, Any]) -> str:
    words = {"string": "text", "integer": "integer", "number": "number", "boolean": "true | false", "null": "null"}
    text = words.get(str(schema.get("type")), "mapping" if schema.get("type") == "object" else "any value")
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return f"{text} {' and '.join(bounds)}".strip()


def _plain(value: Any) -> Any:
    """A default as JSON has it: enums, paths and nested models become plain values."""
    from pydantic import TypeAdapter

    return TypeAdapter(Any).dump_python(value, mode="json")
