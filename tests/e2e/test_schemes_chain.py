"""Each shape of distillation from a recipe to a bundle: trained, exported, opened, verified on every modality."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgefw import engine
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.run_folder import RunFolder

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
RECIPE = """
seed: 3
data: {{name: csv, file: data/scenes.csv}}
modalities: {{rgb: {{name: rgb}}, depth: {{name: depth}}}}
teacher: {{name: tiny-colours}}
student: {{name: tiny-trunk}}
evaluate: {{labels: [red, green, blue]}}
train: {train}
compute: {{device: cpu}}
verify: {{max_drop: 50, max_slowdown: null}}
"""
STEPS = "optimiser: {lr: 1e-2}, steps: 6, batch: 6"
RGB_FIRST = f"{{name: rgb, scheme: {{name: single-modality, modality: rgb}}, losses: [{{name: feature}}], {STEPS}}}"
TRAIN = {
    "mutual": (
        (
            f"[{{name: a, scheme: {{name: mutual, modality: depth, serve: all}}, "
            f"losses: [{{name: feature}}, {{name: mutual-kl}}], {STEPS}}}]"
        ),
        {"encoder"},
    ),
    "hybrid-mixup": (
        (
            f"[{{name: a, scheme: {{name: hybrid-mixup}}, losses: [{{name: feature}}, "
            f"{{name: feature, against: peer, distance: mse}}, {{name: mutual-kl}}], {STEPS}}}]"
        ),
        {"encoder"},
    ),
    "split-stem": (
        f"[{{name: a, scheme: {{name: split-stem}}, losses: [{{name: feature}}], {STEPS}}}]",
        {"rgb", "depth"},
    ),
    "split-stem-mid": (
        (
            f"[{RGB_FIRST}, {{name: a, scheme: {{name: split-stem, match: mid}}, "
            f"losses: [{{name: feature, of: map, against: reference, distance: mse}}], {STEPS}}}]"
        ),
        {"rgb", "depth"},
    ),
    "cross-attention": (
        f"[{{name: a, scheme: {{name: cross-attention}}, losses: [{{name: feature}}], {STEPS}}}]",
        {"encoder", "rgb+depth"},
    ),
    "transfer": (
        (
            f"[{RGB_FIRST}, {{name: a, scheme: {{name: transfer, frozen: 0.4}}, "
            f"losses: [{{name: feature, against: reference, distance: mse}}], {STEPS}}}]"
        ),
        {"source", "target"},
    ),
}


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TINY)
        patch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
        patch.delenv("EDGEFW_CACHE", raising=False)
        yield patch


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    """Pictures with one strong channel beside depth maps of one distance; a few scenes lack their depth."""
    folder, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    (folder / "data").mkdir()
    rows = ["id,split,label,rgb,depth"]
    for number in range(36):
        channel, split = number % 3, "train" if number < 24 else ("val", "test")[number % 2]
        pixels = rng.integers(0, 60, (20, 20, 3))
        pixels[..., channel] += 150
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "data" / f"{number}.png")
        depth = rng.integers(900, 1100, (20, 20)) * (1 + channel)
        Image.fromarray(depth.astype(np.uint16)).save(folder / "data" / f"{number}d.png")
        lone = number in (4, 30)
        rows.append(
            f"{number},{split},{('red', 'green', 'blue')[channel]},{number}.png,{'' if lone else f'{number}d.png'}"
        )
    (folder / "data" / "scenes.csv").write_text("\n".join(rows) + "\n")
    return folder


def run(scenes: Path, name: str, train: str) -> dict[str, Any]:
    (scenes / f"{name}.yaml").write_text(RECIPE.format(train=train))
    engine.run(read_recipe(str(scenes / f"{name}.yaml"), ()), Registry(), scenes / name)
    return RunFolder(scenes / name).read_json("result.json")


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAIN)
def test_a_recipe_with_this_scheme_ends_in_verified_artefacts(scenes: Path, name: str) -> None:
    train, graphs = TRAIN[name]
    result = run(scenes, name, train)
    assert result["status"] == "ok"
    verified = RunFolder(scenes / name).read_json("verify/result.json")
    assert {row["signature"] for row in verified["artefacts"]} == graphs
    roles = {role for row in verified["artefacts"] for role in row["serves"]}
    assert roles == {"rgb", "depth"} | {graph for graph in graphs if "+" in graph}
    assert all(row["cosine_min"] > 0.999 for row in verified["artefacts"])
    models = {row["model"] for row in result["evaluation"] if row["modality"] == "depth" and row["metric"] == "top1"}
    assert {"teacher", "student"} < models
