"""A whole run with an ensemble: what is measured, and new labels through the members' text towers."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from edgefw import engine
from edgefw.errors import GateFailed
from edgefw.labels.texts import pack_from_names
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.runtime.bundle import open_bundle

ENSEMBLE = "teacher={name: ensemble, members: [{name: tiny-colours}, {name: tiny-colours, weight: 3}]}"


@pytest.mark.slow
def test_a_run_with_an_ensemble_makes_a_bundle_that_reads_new_labels(project, tmp_path) -> None:
    recipe = read_recipe(
        str(project / "tiny.yaml"), [ENSEMBLE, "train.0.steps=4", "export.quantizers=[]", "verify.min_cosine=null"]
    )
    with suppress(GateFailed):  # four steps teach little
        engine.run(recipe, Registry(), tmp_path / "run")
    rows = json.loads((tmp_path / "run/verify/result.json").read_text())["evaluation"]
    measured = {(row["model"], row["metric"]) for row in rows if row["modality"] == "rgb"}
    for model in ("teacher", "student", "onnxruntime-fp32"):
        assert {(model, "knn_top1"), (model, "text_to_image_r5"), (model, "image_to_text_r1")} <= measured
    with open_bundle(tmp_path / "run") as opened:
        assert opened.manifest.teacher.options["members"][1] == {"name": "tiny-colours", "weight": 3.0}
        assert opened.label_pack().width == pack_from_names(opened, ["red", "azure"]).width == 16
