"""Shipped recipes: what their header comments say, and assets by path."""

from __future__ import annotations

import json

import pytest

from edgefw.cli.main import run
from edgefw.errors import RecipeError
from edgefw.recipe import described, shipped

HEADER = """\
# A toy world, end to end. It shows
# the chain, nothing else.
# Needs: 2 CPU cores, no download.
# Time: 4 minutes.
seed: 1
data: {name: folder, root: '???'}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "toy.yaml").write_text(HEADER)
    (tmp_path / "assets" / "toy").mkdir(parents=True)
    (tmp_path / "assets" / "toy" / "labels.txt").write_text("cat\n")
    monkeypatch.setattr(shipped, "folder", lambda: tmp_path)
    return tmp_path


def test_a_recipe_is_described_by_its_header(folder) -> None:
    (recipe,) = described.shipped_recipes()
    assert recipe.name == "toy"
    assert recipe.summary == "A toy world, end to end."
    assert recipe.needs == "2 CPU cores, no download."
    assert recipe.mandatory == ("data.root",)


def test_the_command_lists_recipes_as_text_and_as_json(folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes"]) == 0
    text = capsys.readouterr().out
    assert "toy\n  A toy world, end to end.\n  Needs: 2 CPU cores, no download.\n  Give:  data.root=..." in text
    assert run(["recipes", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "name": "toy",
        "summary": "A toy world, end to end.",
        "needs": "2 CPU cores, no download.",
        "mandatory": ["data.root"],
        "file": str(folder / "toy.yaml"),
    }


def test_an_asset_is_found_and_a_missing_one_names_those_there_are(folder) -> None:
    assert shipped.asset("toy/labels.txt") == (folder / "assets" / "toy" / "labels.txt").resolve()
    for path in ("toy/nothing", "", "../toy.yaml", "/etc/passwd"):
        with pytest.raises(RecipeError, match="Shipped: toy/labels.txt"):
            shipped.asset(path)


def test_every_shipped_recipe_says_what_it_does_and_what_it_needs() -> None:
    for recipe in described.shipped_recipes():
        assert recipe.summary, recipe.name
        assert recipe.needs, recipe.name
