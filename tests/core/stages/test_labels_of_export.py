"""A run whose recipe names one backend twice and one quantizer twice: every file is made, opened and judged by its own entry."""

from __future__ import annotations

import json
import shutil

import pytest

from edgefw import engine
from edgefw.cli.main import run as command_line
from edgefw.labels.folders import parse_data
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.departure import UNSEEN
from edgefw.verifying.bundle_check import verify_bundle
from edgefw.verifying.elsewhere import verify_elsewhere

BACKENDS = "export.backends=[{name: onnxruntime, label: ort, format: ort, exporter: legacy, threads: 1}, {name: onnxruntime, exporter: legacy, threads: 1}]"
QUANTIZERS = "export.quantizers=[{name: int8-static, reduce_range: true}, {name: int8-static, label: percentile, ranges: percentile, reduce_range: true}]"
LABELLED = [BACKENDS, QUANTIZERS, "export.folded=[rgb]"]
PLAIN = ["onnxruntime-fp32", "onnxruntime-int8-static", "onnxruntime-int8-static-percentile"]
ORT = [name.replace("onnxruntime", "onnxruntime-ort", 1) for name in PLAIN]
FOLDED = [f"folded-rgb-{name}" for name in PLAIN]


@pytest.fixture(scope="module")
def labelled(project, tmp_path_factory):
    """The finished run, exported again with labels."""
    folder = tmp_path_factory.mktemp("labelled") / "run"
    shutil.copytree(project / "run", folder)
    engine.run(read_recipe(str(project / "tiny.yaml"), LABELLED), Registry(), folder, resume=True)
    return folder


def test_every_entry_has_files_of_its_own(labelled, result) -> None:
    exported = result(labelled, "export")
    records = {record["name"]: record for record in exported["artefacts"]}
    assert list(records) == [*ORT, *PLAIN]
    assert [records[name].get("label") for name in (ORT[1], PLAIN[1])] == ["ort", None]
    for float_file, *rounded in (ORT, PLAIN):
        assert [records[name]["source"] for name in (float_file, *rounded)] == [None, float_file, float_file]
        assert [records[name]["details"]["ranges"] for name in rounded] == ["minmax", "percentile"]
        assert records[rounded[0]]["sha256"] != records[rounded[1]]["sha256"]
    assert {name: record["options"]["format"] for name, record in records.items()} == {
        **dict.fromkeys(ORT, "ort"),
        **dict.fromkeys(PLAIN, "onnx"),
    }
    assert [record["name"] for record in exported["folded"]] == FOLDED  # made of ONNX files alone


def test_check_names_the_same_files(project, labelled, capsys) -> None:
    assert command_line(["check", str(project / "tiny.yaml"), *LABELLED, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["export"]
    assert sorted(row["name"] for row in planned) == sorted([*ORT, *PLAIN, *FOLDED])


def test_verify_judges_each_and_the_best_is_one_of_them(labelled, result) -> None:
    verified = result(labelled, "verify")
    assert [row["name"] for row in verified["artefacts"]] == [*ORT, *PLAIN]
    assert {row["artefact"] for row in verified["budget"]} == {*ORT, *PLAIN, *FOLDED}
    assert not verified["unjudged"] and verified["best"] in {*ORT, *PLAIN}
    with open_bundle(labelled) as opened:
        manifest = opened.manifest
    assert manifest.default == verified["best"]
    assert {entry.name: entry.options["format"] for entry in manifest.artefacts} == {
        **dict.fromkeys(ORT, "ort"),
        **dict.fromkeys(PLAIN, "onnx"),
    }


def test_the_bundle_is_judged_file_by_file(project, labelled, tmp_path) -> None:
    for path in (project / "data").glob("test-*.png"):
        if "depth" not in path.name:
            (tmp_path / path.name.split("-")[1]).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / path.name.split("-")[1])
    with open_bundle(labelled) as opened:
        folders = parse_data([f"rgb={tmp_path}"], opened.modalities, opened.label_pack().names)
        found = verify_bundle(opened, folders, opened.label_pack(), threads=1, seconds=0.02, memory=False)
    around = {"labels.json", "preprocessing.rgb", "preprocessing.depth"}
    assert {row["artefact"] for row in found["budget"]} - around == {*ORT, *PLAIN, *FOLDED}
    assert found["best"] in {*ORT, *PLAIN}
    slowdowns = {row["name"]: row["slowdown"] is not None for row in found["artefacts"]}
    assert slowdowns == {name: "int8" in name for name in (*ORT, *PLAIN)}  # a float file is none's copy


def test_layers_are_looked_into_by_the_entry_that_made_the_file(labelled, tmp_path) -> None:
    blamed = {
        row["artefact"]: row
        for row in verify_elsewhere(labelled, ["verify.max_error=1e-12"], tmp_path / "strict")["blame"]
    }
    assert set(blamed) == {ORT[0], PLAIN[0]}
    assert blamed[ORT[0]] == {"artefact": ORT[0], "absent": UNSEEN}
    assert blamed[PLAIN[0]]["layers"]


def test_another_label_is_another_export(project, labelled, tmp_path, result) -> None:
    shutil.copytree(labelled, tmp_path / "run")
    for overrides, name, skipped in (
        (LABELLED, PLAIN[2], True),
        ([*LABELLED, "export.quantizers.1.label=tails"], "onnxruntime-int8-static-tails", False),
    ):
        recipe = read_recipe(str(project / "tiny.yaml"), overrides)
        found = engine.run(recipe, Registry(), tmp_path / "run", until="export", resume=True)
        assert {row["name"]: row["skipped"] for row in found["stages"]} == {
            "curate": True,
            "train": True,
            "export": skipped,
        }
        assert name in [record["name"] for record in result(tmp_path / "run", "export")["artefacts"]]
