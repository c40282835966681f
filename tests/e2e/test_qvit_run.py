"""A small ViT on drawn scenes, float and then with qvit and its loss: what the int8 file says against the student."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgefw import engine
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry

PHASE = {
    "scheme": {"name": "dual-modality"},
    "views": {"name": "crop-flip"},
    "batch": 12,
    "steps": 12,
    "select": {"by": "last"},
    "cache": {"views": 1},
}
FLOAT = {"name": "distil", "losses": [{"name": "feature"}], "optimiser": {"lr": 1e-3, "warmup": 0.1}}
ROUND = {
    "name": "round",
    "losses": [{"name": "feature"}, {"name": "distribution-guided"}],
    "quantizer": {"name": "qvit"},
    "optimiser": {"lr": 2e-4},
}
RECIPE = {
    "data": {"name": "sample", "train": 144, "val": 24, "test": 64, "size": 64},
    "student": {"name": "timm", "model": "vit_tiny_patch16_224", "size": 64, "head": {"name": "linear"}},
    "train": [FLOAT | PHASE, ROUND | PHASE],
    "export.quantizers": [],
    "verify": {"split": "test", "max_drop": 1.0, "min_cosine": 0.999, "min_agreement": 0.99, "max_slowdown": None},
    "compute.workers": 0,
}


@pytest.mark.slow
def test_the_int8_file_of_a_vit_agrees_with_its_student(tmp_path: Path) -> None:
    overrides = [f"{key}={json.dumps(value)}" for key, value in RECIPE.items()]
    engine.run(read_recipe("quickstart", overrides), Registry(), tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "ok"
    (artefact,) = result["artefacts"]
    assert artefact["path"].startswith("export/onnxruntime-qvit/")
    assert artefact["cosine_mean"] >= 0.999 and artefact["top1_agreement"] >= 0.99
    metrics = (tmp_path / "run" / "train" / "round" / "metrics.jsonl").read_text()
    assert "distribution-guided" in metrics
