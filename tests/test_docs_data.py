"""The data pages: every YAML block is a valid piece of a recipe, and every option has its row with the right default."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from edgefw.preparing.layouts import LAYOUTS, load_layout
from edgefw.recipe.schema import Curate, Phase
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ["data.md", *(f"techniques/{kind}.md" for kind in ("datasets", "modalities", "views", "samplers"))]
MINE = [
    (Kind.DATASET, "folder"),
    (Kind.DATASET, "csv"),
    (Kind.DATASET, "huggingface"),
    (Kind.DATASET, "paired-folder"),
    (Kind.DATASET, "webdataset"),
    (Kind.MODALITY, "rgb"),
    (Kind.MODALITY, "depth"),
    (Kind.VIEW, "none"),
    (Kind.VIEW, "crop-flip"),
    (Kind.SAMPLER, "shuffle"),
    (Kind.SAMPLER, "class-balanced"),
]


def blocks() -> list[Any]:
    found = []
    for page in PAGES:
        for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)):
            found.append(pytest.param(OmegaConf.to_container(OmegaConf.create(text)), id=f"{page}-{number}"))
    return found


def validated(registry: Registry, kind: Kind, piece: dict[str, Any]) -> None:
    options = {key: value for key, value in piece.items() if key != "name"}
    registry.load(kind, piece["name"]).config(**options)


@pytest.mark.parametrize("block", blocks())
def test_every_yaml_block_is_accepted(block: dict[str, Any]) -> None:
    registry = Registry()
    assert block.keys() <= {"data", "modalities", "curate", "train"}
    if "curate" in block:
        Curate(**block["curate"])
    if "data" in block:
        validated(registry, Kind.DATASET, block["data"])
    for piece in block.get("modalities", {}).values():
        validated(registry, Kind.MODALITY, piece)
    for section in block.get("train", []):
        phase = Phase(**section)
        validated(registry, Kind.VIEW, {"name": phase.views.name, **phase.views.options})
        validated(registry, Kind.SAMPLER, {"name": phase.sampler.name, **phase.sampler.options})


@pytest.mark.parametrize(("kind", "name"), MINE)
def test_every_option_has_a_row(kind: Kind, name: str) -> None:
    page = (DOCS / f"techniques/{kind.plural}.md").read_text()
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert section
    rows = [line.split("|")[1] for line in section[1].splitlines() if line.startswith("| `")]
    documented = {option for row in rows for option in re.findall(r"`([a-z_]+)`", row)}
    assert documented == set(Registry().load(kind, name).config.model_fields)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_option_of_a_layout_has_a_row(layout: str) -> None:
    page = (DOCS / "data.md").read_text()
    section = re.search(rf"^### {layout}\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE)
    assert section
    rows = [line.split("|")[1] for line in section[1].splitlines() if line.startswith("| `")]
    documented = {option for row in rows for option in re.findall(r"`([a-z_]+)`", row)}
    assert documented == set(load_layout(layout).options.model_fields)


def test_what_prepare_wrote_is_sorted_by_label_for_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sorting,) = re.findall(r"```python\n(.*?)```", (DOCS / "edgevl.md").read_text(encoding="utf-8"), re.DOTALL)
    rows = ["id,split,label,rgb,depth", "test/1,test,home office,rgb/test/1.jpg,depth/test/1.png"]
    rows += ["test/2,test,,rgb/test/2.jpg,", "train/3,train,kitchen,rgb/train/3.jpg,"]
    for file in ("rgb/test/1.jpg", "rgb/test/2.jpg", "rgb/train/3.jpg", "depth/test/1.png"):
        (tmp_path / "nyu2" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nyu2" / file).write_text(file)
    (tmp_path / "nyu2" / "samples.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", sorting], check=True)
    found = {path.relative_to("nyu2-by-class").as_posix() for path in Path("nyu2-by-class").rglob("*.*")}
    assert found == {"rgb/home office/test-1.jpg", "depth/home office/test-1.png"}
