"""A small recipe, and techniques without weights to compose it from: one torch-free module that registers them all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgefw.recipe.read import Recipe, read_recipe
from edgefw.registry.discovery import PluginRef
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry

SMALL = """\
# A recipe for tests. It has every section.
seed: 1
data:
  name: pile
  root: there
modalities:
  rgb: {name: photo}
  depth: {name: range, encoding: jet}
teacher: {name: oracle}
student:
  name: pupil
  size: 32
  head: {name: straight}
curate: {labels: [cat, dog], keep: 0.5}
train:
  - name: distil
    scheme: {name: both}
    views: {name: still}
    sampler: {name: plain}
    losses:
      - {name: near, power: 1}
    epochs: 2
    batch: 4
export:
  backends: [{name: file}]
evaluate: {labels: [cat, dog]}
"""

MODULE = '''
"""Techniques for tests."""
from typing import Literal
from pydantic import Field, model_validator
import edgefw

class Sized(edgefw.TechniqueConfig):
    size: int = Field(default=8, ge=1, le=64, description="size")

class Near(edgefw.TechniqueConfig):
    power: Literal[1, 2] = Field(default=2, description="power")
    temperature: float = Field(default=1.0, gt=0, description="divides")

class Encoded(edgefw.TechniqueConfig):
    encoding: Literal["min-max", "jet"] = "min-max"

class Rooted(edgefw.TechniqueConfig):
    root: str = Field(description="folder")

class Pair(edgefw.TechniqueConfig):
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not be above high ({self.high}).")
        return self

class Choir(edgefw.TechniqueConfig):
    voices: list[dict] = Field(description="teachers by name")

def voices(config):
    return [
        edgefw.Inner(keys=("voices", at), kind=edgefw.Kind.TEACHER, name=voice["name"], must=frozenset({"text"}),
                     options={key: value for key, value in voice.items() if key != "name"})
        for at, voice in enumerate(config.voices)
    ]

def piece(config, context):
    return (config, context)

def failing(config, context):
    from edgefw.errors import DataError
    raise DataError("no such folder.")

def importing(config, context):
    import a_package_that_nobody_has

def offer(name, provides="", needs="", config=edgefw.NoOptions, build=piece, **more):
    words = lambda text: frozenset(text.split())
    return edgefw.Technique(name=name, config=config, build=build, provides=words(provides), needs=words(needs), **more)

OFFERS = {
    "teachers": [
        offer("oracle", "embedding text"),
        offer("seer", "embedding text tokens qkv"),
        offer("mute", "embedding"),
        offer("choir", "embedding text", config=Choir, inner=voices),
        offer("soloist", "embedding text", config=Sized),
        offer("follower", "embedding text", "run.pairs"),
    ],
    "students": [
        offer("pupil", "pooled map", config=Sized),
        offer("scholar", "pooled map checkpointing", config=Pair),
        offer("picky", "pooled", "teacher.tokens"),
    ],
    "projectors": [offer("straight", "head"), offer("bent", "alignment", "teacher.qkv student.map")],
    "losses": [
        offer("near", needs="teacher.embedding", config=Near),
        offer("attentive", needs="teacher.qkv projector.alignment"),
        offer("labelled", needs="run.labels"),
        offer("later", needs="run.reference"),
        offer("grouped", needs="sampler.groups"),
        offer("worded", needs="run.texts"),
    ],
    "schemes": [offer("both", needs="run.pairs"), offer("alone")],
    "samplers": [offer("plain"), offer("mining", "groups", "run.labels")],
    "views": [offer("still")],
    "quantizers": [offer("after", "onnx"), offer("during", "module"), offer("between", "program")],
    "modalities": [offer("photo"), offer("range", config=Encoded)],
    "datasets": [
        offer("pile", config=Rooted),
        offer("broken", build=failing),
        offer("undeclared", build=importing),
        offer("heavy", requires=("no_such_package",), install="pip install edgefw[heavy]"),
    ],
    "backends": [offer("file", "onnx module"), offer("sealed", "module"), offer("narrow", "float-only module")],
}

def _hook(plural):
    @edgefw.hookimpl(specname=f"edgefw_register_{plural}")
    def hook(register):
        for technique in OFFERS[plural]:
            register(technique)
    return hook

for _plural in OFFERS:
    globals()[f"edgefw_register_{_plural}"] = _hook(_plural)
'''


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry of the techniques above, as if edgefw itself offered them."""
    folder = tmp_path_factory.mktemp("techniques")
    (folder / "techniques_for_tests.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    import techniques_for_tests

    refs = [
        PluginRef(kind, technique.name, "techniques_for_tests", "edgefw", "0.1.0", "ok")
        for kind in Kind
        for technique in techniques_for_tests.OFFERS[kind.plural]
    ]
    yield Registry(refs)
    sys.path.remove(str(folder))
    del sys.modules["techniques_for_tests"]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Writes a text as `recipe.yaml` and gives its path."""

    def to_file(text: str) -> str:
        file = tmp_path / "recipe.yaml"
        file.write_text(text, encoding="utf-8")
        return str(file)

    return to_file


@pytest.fixture
def small(write: Callable[[str], str]) -> Callable[..., Recipe]:
    """Reads the small recipe with overrides."""
    return lambda *overrides: read_recipe(write(SMALL), overrides)
