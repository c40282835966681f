"""docs/configuration.md says what the schema says, and docs/cli.md names every key of a plan."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from edgefw.recipe import schema

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "configuration.md").read_text()
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "configuration_tables.py"))
SECTIONS = [
    name
    for name, model in vars(schema).items()
    if isinstance(model, type) and issubclass(model, BaseModel) and name not in ("BaseModel", "Section", "Piece")
]

TAKEN_AWAY = {
    "train.align=null": "train.1={name: align, losses: [{name: feature}], epochs: 1}",
    "train.distil.losses.1=null": "train.0.losses.1={name: infonce}",
}
"""What an override takes away, and the page's recipe lacks."""


def test_the_tables_are_made_from_the_schema() -> None:
    assert SCRIPT["rewritten"](PAGE) == PAGE, "run python scripts/configuration_tables.py"


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_has_a_heading_and_a_table(name: str) -> None:
    assert f"\n## {name}\n" in PAGE
    assert f"<!-- keys of {name} -->" in PAGE


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_is_described(name: str) -> None:
    for key, field in getattr(schema, name).model_fields.items():
        assert field.description, f"{name}.{key} has no description"
        assert re.search(rf"^\| `{key}` \| .+ \| .+ \| .+ \|$", SCRIPT["table"](getattr(schema, name)), re.MULTILINE)


def test_the_documented_overrides_work(tmp_path: Path) -> None:
    from edgefw.recipe.read import read_recipe

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])  # type: ignore[index]
    part = PAGE.split("## Overrides")[1].split("\n## ")[0]
    written = [
        word for row in re.findall(r"^\| (`.*?`) \|", part, re.MULTILINE) for word in re.findall(r"`(.*?)`", row)
    ]
    assert len(written) > 10
    for override in written:
        if not override.startswith("modalities.depth"):
            there = [TAKEN_AWAY[override]] if override in TAKEN_AWAY else []
            assert read_recipe(str(recipe), ["data.root=x", *there, override])
