"""Every YAML block of the documents is a recipe, or a piece of one that fits into a recipe.

A block with `data` and `train`, or with a `base`, is taken as it is; a block of recipe keys is laid over a small recipe; a block with a
`name` or a list of pieces is validated as techniques of the kind that the page is about. Nothing is built: values stand
for data and weights that a reader has. YAML that is no recipe belongs in a `yml` fence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from edgefw.recipe.compose import compose
from edgefw.recipe.described import shipped_recipes
from edgefw.recipe.read import read_recipe
from edgefw.recipe.schema import RunConfig
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "benchmarks").rglob("*.md"))
BASE: dict[str, Any] = {
    "data": {"name": "sample"},
    "modalities": {"rgb": {"name": "rgb"}, "depth": {"name": "depth"}},
    "teacher": {"name": "openclip", "model": "ViT-B-32", "weights": "none"},
    "student": {"name": "timm", "model": "mobilenetv4_conv_small"},
    "train": [{"name": "distil", "losses": [{"name": "feature"}], "epochs": 1}],
}
KINDS = {kind.plural: kind for kind in Kind}


def blocks() -> Iterator[Any]:
    """(page, line, text) of every YAML fence, as test parameters."""
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^( *)```yaml\n(.*?)^\1```", text, flags=re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 2
            yield pytest.param(page, match[2], id=f"{page.relative_to(ROOT)}:{line}")


def as_recipes(page: Path, text: str) -> list[dict[str, Any]]:
    """The block as whole recipes."""
    value = OmegaConf.to_container(OmegaConf.create(text.replace("???", "yours")), resolve=False)
    if isinstance(value, dict) and "base" in value:
        return [value]
    if isinstance(value, dict) and set(value) <= set(RunConfig.model_fields):
        return [{**BASE, **value}]
    kind = KINDS.get(page.stem) or _kind_of_keys(value)
    assert kind, f"{page.name}: this is no recipe, and the page is about no kind. Mark the fence `yml`"
    return [{**BASE, **_placed(kind, piece)} for piece in _pieces(value)]


def _kind_of_keys(value: Any) -> Kind | None:
    """The kind of a piece that stands under a key of a phase: {losses: [...]}, {scheme: {...}}."""
    words = {"losses": Kind.LOSS, "scheme": Kind.SCHEME, "sampler": Kind.SAMPLER, "views": Kind.VIEW}
    return next((words[key] for key in value if key in words), None) if isinstance(value, dict) else None


def _pieces(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [piece for item in value for piece in _pieces(item)]
    if "name" in value:
        return [value]
    return [piece for item in value.values() for piece in _pieces(item) if isinstance(item, (dict, list))]


def _placed(kind: Kind, piece: dict[str, Any]) -> dict[str, Any]:
    """Where a piece of a kind stands in a recipe."""
    phase = BASE["train"][0]
    places: dict[Kind, dict[str, Any]] = {
        Kind.TEACHER: {"teacher": piece},
        Kind.STUDENT: {"student": piece},
        Kind.PROJECTOR: {"student": {**BASE["student"], "head": piece}},
        Kind.LOSS: {"train": [{**phase, "losses": [piece]}]},
        Kind.SCHEME: {"train": [{**phase, "scheme": piece}]},
        Kind.SAMPLER: {"train": [{**phase, "sampler": piece}]},
        Kind.VIEW: {"train": [{**phase, "views": piece}]},
        Kind.QUANTIZER: {"export": {"quantizers": [piece]}},
        Kind.MODALITY: {"modalities": {"rgb": {"name": "rgb"}, "other": piece}},
        Kind.DATASET: {"data": piece},
        Kind.BACKEND: {"export": {"backends": [piece]}},
    }
    return places[kind]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


@pytest.mark.parametrize(("page", "text"), list(blocks()))
def test_every_yaml_block_is_a_recipe_or_fits_into_one(
    page: Path, text: str, tmp_path: Path, registry: Registry
) -> None:
    for at, recipe in enumerate(as_recipes(page, text)):
        file = tmp_path / f"{at}.yaml"
        OmegaConf.save(OmegaConf.create(recipe), file)
        compose(read_recipe(str(file), left_open(recipe)), registry)


def left_open(recipe: dict[str, Any]) -> list[str]:
    """Overrides for what a shipped base leaves to the reader."""
    return [f"{key}=yours" for key in _mandatory().get(recipe.get("base"), ())]


@cache
def _mandatory() -> dict[str | None, tuple[str, ...]]:
    """What each shipped recipe leaves open; all are read for it, once."""
    return {shipped.name: tuple(shipped.mandatory) for shipped in shipped_recipes()}
