"""Licences of a run's inputs: unknown ones are told once at export, and one may be stated after the training."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgefw import engine
from edgefw.errors import EdgefwWarning
from edgefw.pieces import Pieces
from edgefw.recipe.compose import compose
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.bundle_text import describe
from edgefw.stages.fingerprints import piece
from edgefw.stages.licences import stated, warn_of_unknown

RECIPE = """
data: {name: folder, root: data}
modalities: {rgb: {name: rgb}}
teacher:
  name: ensemble
  members:
    - {name: openclip, model: ViT-B-32, weights: laion2b_s34b_b79k}
    - {name: timm-conse, model: resnet18, weights: w.safetensors, text: [{embeddings: a.npy, names: a.json}]}
student: {name: timm, model: test_resnet}
train: [{name: distil, scheme: {name: single-modality}, losses: [{name: feature}], steps: 1}]
export: {backends: [{name: onnxruntime}]}
evaluate: {labels: [red]}
"""
MEMBERS = ("teacher.members.0.licence=MIT", "teacher.members.1.text_licence=CC0-1.0")


def composed(folder: Path, *overrides: str) -> Any:
    (folder / "recipe.yaml").write_text(RECIPE)
    return compose(read_recipe(str(folder / "recipe.yaml"), overrides), Registry())


def told(composition: Any, teacher: tuple[str, ...], student: str, data: str) -> list[str]:
    """What is said where teacher, student and data turn out to be licensed so."""
    pieces = SimpleNamespace(
        teacher=SimpleNamespace(spec=SimpleNamespace(licence="several", unlicensed=teacher)),
        student_spec=SimpleNamespace(licence=student),
        dataset=SimpleNamespace(licence=data),
    )
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_of_unknown(SimpleNamespace(composition=composition, pieces=pieces))  # type: ignore[arg-type]
    assert all(each.category is EdgefwWarning for each in found)
    return [str(each.message) for each in found]


# ---- the warning -----------------------------------------------------------------------------------------------


def test_one_warning_names_every_unknown_licence_and_the_key_that_states_it(tmp_path: Path) -> None:
    (said,) = told(composed(tmp_path), ("members[0].licence", "members[1].text_licence"), "unknown", "unknown")
    assert said == (
        "nobody states the licence of teacher (set teacher.members[0].licence), teacher (set "
        "teacher.members[1].text_licence), student (set student.licence), data (set data.licence). The bundle will call "
        "it unknown."
    )


def test_random_weights_and_stated_licences_are_no_warning(tmp_path: Path) -> None:
    assert told(composed(tmp_path), (), "random weights", "CC0-1.0") == []


def test_a_technique_without_the_option_is_named(environment, project: Path) -> None:
    composition = compose(read_recipe(str(project / "tiny.yaml")), Registry())
    (said,) = told(composition, ("licence",), "unknown", "MIT")
    assert "teacher ('tiny-colours' has no teacher.licence to state it)" in said and "data" not in said


def test_a_run_tells_it_once_at_export(environment, project: Path, tmp_path: Path) -> None:
    recipe = read_recipe(str(project / "tiny.yaml"), ["train.0.steps=1", "export.quantizers=[]"])
    with pytest.warns(EdgefwWarning, match="licence of .*data \\(set data.licence\\)") as found:
        engine.run(recipe, Registry(), tmp_path / "run", until="export")
    assert len([each for each in found if "licence" in str(each.message)]) == 1


def test_the_quickstart_says_nothing(tmp_path: Path) -> None:
    composition = compose(read_recipe("quickstart"), Registry())
    context = SimpleNamespace(composition=composition, pieces=Pieces(composition, tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error", EdgefwWarning)
        warn_of_unknown(context)  # type: ignore[arg-type]


# ---- what stating one changes ----------------------------------------------------------------------------------


def test_a_stated_licence_changes_no_input_of_a_stage(tmp_path: Path) -> None:
    bare = composed(tmp_path)
    full = composed(tmp_path, *MEMBERS, "student.licence=MIT", "data.licence=CC0-1.0")
    for name in ("teacher", "student", "dataset"):
        assert piece(getattr(full, name), tmp_path) == piece(getattr(bare, name), tmp_path)
    options = [piece(each, tmp_path)["options"] for each in (bare.student, bare.teacher.inner[1])]
    assert not [key for each in options for key in each if "licence" in key], "runs of before the option go on"
    assert piece(bare.dataset, tmp_path)["options"]["licence"] == "unknown", "runs of before it was left out go on"


def test_what_a_recipe_states_is_found_by_its_key_path(tmp_path: Path) -> None:
    assert stated(composed(tmp_path)) == {}
    assert stated(composed(tmp_path, *MEMBERS, "data.licence=CC0-1.0")) == {
        "teacher.members[0].licence": "MIT",
        "teacher.members[1].text_licence": "CC0-1.0",
        "data.licence": "CC0-1.0",
    }


def test_a_licence_stated_after_the_training_repeats_the_report_alone(project: Path, copy: Path) -> None:
    def again(*overrides: str) -> tuple[list[str], Any]:
        result = engine.run(read_recipe(str(project / "tiny.yaml"), overrides), Registry(), copy)
        assert json.loads((copy / "result.json").read_text()) == result
        with open_bundle(copy) as bundle:
            assert f"  data       {bundle.manifest.provenance['licences']['data']}" in describe(bundle)
            assert bundle.manifest.provenance["licences"]["data"] == result["provenance"]["data"]["licence"]
        return [row["name"] for row in result["stages"] if not row["skipped"]], result["provenance"]["data"]

    assert again() == ([], {"technique": "csv", "licence": "unknown"})
    assert again("data.licence=CC0-1.0") == (["report"], {"technique": "csv", "licence": "CC0-1.0"})
    assert "CC0-1.0" in (copy / "report.html").read_text()
    assert again("data.licence=CC0-1.0")[0] == []
    assert again() == (["report"], {"technique": "csv", "licence": "unknown"})
