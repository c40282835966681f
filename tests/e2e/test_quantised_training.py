"""A float phase, then one that trains with int8 rounding: export, verification, and a resumed run, on a recipe of seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from edgefw import engine
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.training import phase as training

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
RECIPE = """
seed: 3
data: {name: folder, root: data}
modalities: {rgb: {name: rgb}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk, width: 96}
train:
  - name: distil
    scheme: {name: dual-modality}
    losses: [{name: feature}]
    optimiser: {lr: 1e-2}
    steps: 20
    batch: 8
  - name: round
    scheme: {name: dual-modality}
    losses: [{name: feature}]
    quantizer: {name: int8-qat}
    optimiser: {lr: 1e-3}
    ema: 0.5
    steps: 8
    batch: 8
    select: {by: last}
export: {backends: [{name: onnxruntime, threads: 1}], calibration: 12}
compute: {device: cpu, checkpoint_every: 1, log_every: 1}
verify: {max_drop: 10, min_cosine: 0.999, min_agreement: 0.99, max_slowdown: null}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("quantised")
    draw(folder / "data", {"train": 8, "val": 2, "test": 4})
    (folder / "tiny.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TINY)
        patch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
        patch.delenv("EDGEFW_CACHE", raising=False)
        run(folder, "run")
        yield folder


def draw(root: Path, counts: dict[str, int]) -> None:
    """Noise with one strong channel, in folders by colour."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for channel, name in enumerate(("red", "green", "blue")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 60, (20, 20, 3))
                pixels[..., channel] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{number}.png")


def run(project: Path, name: str, *overrides: str, **options: Any) -> dict[str, Any]:
    return engine.run(read_recipe(str(project / "tiny.yaml"), overrides), Registry(), project / name, **options)


def test_the_file_agrees_with_the_rounding_student(project: Path) -> None:
    result = json.loads((project / "run" / "result.json").read_text())
    assert result["status"] == "ok"
    (artefact,) = result["artefacts"]
    assert (artefact["backend"], artefact["precision"]) == ("onnxruntime", "int8-qat")
    assert artefact["path"].startswith("export/onnxruntime-int8-qat/")
    assert artefact["cosine_mean"] > 0.999 and artefact["top1_agreement"] >= 0.99
    assert artefact["slowdown"] == pytest.approx(artefact["latency_ms_p50"] / artefact["float_ms_p50"])
    operators = {node.op_type for node in onnx.load(project / "run" / artefact["path"]).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators


def test_a_resumed_run_has_the_same_weights_bit_for_bit(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    plain = training._Loop._step

    def step(self: Any, stream: Any) -> bool:
        if self._job.phase.name == "round":
            steps.append(self._keeping.progress.step)
            if len(steps) == 5:
                raise KeyboardInterrupt
        return plain(self, stream)

    monkeypatch.setattr(training._Loop, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        run(project, "again", until="train")
    run(project, "again", until="train", resume=True)
    assert steps == [0, 1, 2, 3, 4, 4, 5, 6, 7]
    weights = [(project / name / "train" / "round" / "student.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1]
