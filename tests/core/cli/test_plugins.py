"""`edgefw plugins show`: one technique and its options, as text, YAML and JSON."""

from __future__ import annotations

import json

import pytest
from omegaconf import OmegaConf

from edgefw.cli.main import run
from edgefw.registry.cards import card
from edgefw.registry.discovery import installed

SOURCE = '''"""A loss with options of every sort."""
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal
from pydantic import Field
import edgefw

class Colour(Enum):
    RED = "red"

class Inner(edgefw.TechniqueConfig):
    depth: int = 3

class Config(edgefw.TechniqueConfig):
    needed: str = Field(description="must be given")
    distance: Literal["l1", "none"] = Field(default="none", description="how: far")
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = Field(default=1e-5, description="a rate")
    pair: tuple[int, float] = (1, 2.5)
    names: list[str] = ["a b", "on", "3"]
    maybe: int | None = None
    flag: bool = True
    colour: Colour = Colour.RED
    inner: Inner = Inner()
    path: Path = Path("some/where.txt")
    free: dict[str, int] = {"x": 1}
    text: str = "it's: {odd} # text"

def build(config, context):
    return object()

@edgefw.hookimpl
def edgefw_register_losses(register):
    register(edgefw.Technique(
        name="acme-x", config=Config, build=build, needs=frozenset({"teacher.text"}), requires=("numpy", "nowhere"),
        install="pip install nowhere", paper="arXiv:1", licence="MIT"))
'''


@pytest.fixture
def acme(site, monkeypatch):
    """A stranger's loss, with nothing else but edgefw's own techniques."""
    site.loss("edgefw-acme", "acme-x", SOURCE)
    monkeypatch.setenv("EDGEFW_PLUGINS", "acme")


def test_text_shows_everything_about_one_technique(acme, capsys) -> None:
    assert run(["plugins", "show", "acme-x"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "loss acme-x: A loss with options of every sort."
    for words in (
        "edgefw-acme 0.2",
        "edgefw_acme.py",
        "plugin API",
        "arXiv:1",
        "MIT",
        "teacher.text",
        "numpy ",
        "nowhere is missing",
    ):
        assert words in out
    assert "pip install nowhere" in out and "fits teachers" in out


def test_the_yaml_block_reads_back_as_the_defaults(acme) -> None:
    found = card("loss/acme-x")
    block = OmegaConf.to_container(OmegaConf.create(found.yaml), throw_on_missing=False)["losses"][0]
    assert block.pop("name") == "acme-x"
    assert block.pop("needed") == "???"
    plain = found.technique.config(needed="x").model_dump(mode="json", exclude={"needed"})
    assert block == plain


def test_the_yaml_block_says_type_default_and_meaning(acme) -> None:
    yaml = card("acme-x").yaml
    assert "# text: must be given" in yaml and "needed: ???" in yaml
    assert "# l1 | none: how: far" in yaml.replace('"none"', "none")
    assert "# number > 0 and <= 1: a rate" in yaml


def test_json_is_one_document_with_options(acme, capsys) -> None:
    assert run(["plugins", "show", "loss/acme_x", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["options"][0] == {
        "name": "needed",
        "type": "text",
        "required": True,
        "default": None,
        "description": "must be given",
    }
    assert document["packages"][1] == {"name": "nowhere", "version": None}
    assert document["distribution"] == "edgefw-acme" and document["api"] == 1 and document["licence"] == "MIT"


def test_a_name_of_two_kinds_asks_for_the_kind(capsys) -> None:
    assert run(["plugins", "show", "sample"]) in (0, 2)
    capsys.readouterr()
    assert run(["plugins", "show", "loss/timm"]) == 2
    assert "There is a student of that name" in capsys.readouterr().err


def test_two_kinds_with_one_name_are_told_apart(site, capsys, loss_source) -> None:
    source = loss_source("both") + loss_source("both").split("\n\n", 1)[1].replace("losses", "views")
    points = {"edgefw.losses": {"both": "edgefw_acme"}, "edgefw.views": {"both": "edgefw_acme"}}
    site.install("edgefw-acme", points, {"edgefw_acme.py": source})
    assert run(["plugins", "show", "both"]) == 2
    assert "'both' is a loss and a view. Write loss/both or view/both." in capsys.readouterr().err
    assert run(["plugins", "show", "view/both"]) == 0


def test_an_unknown_name_lists_close_ones(capsys) -> None:
    assert run(["plugins", "show", "int8-statik"]) == 2
    assert "Did you mean int8-static" in capsys.readouterr().err


@pytest.mark.parametrize(
    "ref",
    [ref for ref in installed() if ref.kind and ref.distribution == "edgefw"],
    ids=lambda ref: f"{ref.kind}-{ref.name}",
)
def test_every_first_party_block_reads_back_as_its_defaults(ref) -> None:
    if ref.status == "missing":
        pytest.skip("its module is not written yet")
    found = card(f"{ref.kind}/edgefw:{ref.name}")
    loaded = OmegaConf.to_container(OmegaConf.create(found.yaml), throw_on_missing=False)
    piece = next(iter(loaded.values()))
    piece = piece[0] if isinstance(piece, list) else piece
    piece = piece.get(ref.name, piece) if ref.kind == "modality" else piece
    assert piece.pop("name") == ref.name
    fields = found.technique.config.model_fields
    assert set(piece) == set(fields)
    for name, value in piece.items():
        assert (value == "???") == fields[name].is_required()
