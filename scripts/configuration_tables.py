"""Writes the tables of docs/configuration.md from the recipe's schema.

    python scripts/configuration_tables.py           rewrites the page between its markers
    python scripts/configuration_tables.py --check   exit code 1 if it would change something

Each table stands between `<!-- keys of X -->` and `<!-- end -->`, where X is a class of edgefw.recipe.schema.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from edgefw.recipe import schema
from edgefw.recipe.json_schema import PLACES
from edgefw.registry.options import type_in_words, yaml_value

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
_TABLE = re.compile(r"(<!-- keys of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(model: type[schema.Section | schema.Piece]) -> str:
    """One row per key: type, default, meaning."""
    described = model.model_json_schema()
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        part = described["properties"][name]
        kind = PLACES.get(model.__name__, {}).get(name)
        text = _piece(kind, part) if kind else _words(part, described.get("$defs", {}))
        default = "required" if field.is_required() else f"`{yaml_value(_default(field))}`"
        cells = [f"`{name}`", text, default, field.description or ""]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _words(part: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Lists of sections and sections by name, anything else in words."""
    found = re.findall(r"#/\$defs/(\w+)", str(part))
    if not found:
        return type_in_words(part, definitions)
    section = f"[{found[0]}](#{found[0].lower()})"
    text = f"list of {section}" if part.get("type") == "array" else section
    return text + (" or null" if "'null'" in str(part) else "")


def _piece(kind: Any, part: dict[str, Any]) -> str:
    shapes = {"array": f"list of {kind.plural}", "object": f"{kind.plural} by name"}
    text = shapes.get(part.get("type", ""), f"a {kind}")
    return text + (" or null" if "'null'" in str(part) else "")


def _default(field: Any) -> Any:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return _plain(value)


def _plain(value: Any) -> Any:
    """A model without what it does not set."""
    return (
        value.model_dump(mode="json", exclude_defaults=not isinstance(value, schema.Piece))
        if hasattr(value, "model_dump")
        else value
    )


def rewritten(page: str) -> str:
    """The page with every table made anew."""
    return _TABLE.sub(lambda found: found[1] + table(getattr(schema, found[2])) + found[3], page)


def main() -> int:
    """Rewrite or check the page."""
    before = PAGE.read_text(encoding="utf-8")
    after = rewritten(before)
    if "--check" in sys.argv:
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
