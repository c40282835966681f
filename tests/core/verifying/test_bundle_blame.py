"""Which layer of a bundle's file departs from its float file, and what is said where that cannot be seen."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefw.cli.main import run
from edgefw.labels.folders import parse_data
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.departure import UNSEEN
from edgefw.runtime.hashes import sha256_of
from edgefw.verifying.bundle_blame import OUTSIDE, UNSOURCED, blame
from edgefw.verifying.bundle_check import verify_bundle
from edgefw.verifying.sheets import Column, Sheet

FLOAT, INT8 = "onnxruntime-fp32", "onnxruntime-int8-static"


def turn_about(model):
    """The layer `mix` of a float graph, with weights turned about."""
    entry = next(own for own in model.graph.initializer if own.name == "mix")
    turned = np.roll(numpy_helper.to_array(entry), 3, axis=0)
    entry.CopyFrom(numpy_helper.from_array(turned, "mix"))


def put_wrong_layer(folder, small_bundle, at, change=turn_about):
    """Write a changed copy of the float file in the place of one of the two files, with hashes that fit."""
    name = (FLOAT, INT8)[at]
    model, file = onnx.load(folder / f"artefacts/{FLOAT}/model.onnx"), folder / f"artefacts/{name}/model.onnx"
    change(model)
    onnx.save(model, file)
    facts = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    small_bundle.change_manifest(folder, lambda manifest: manifest["artefacts"][at].update(facts))


@pytest.fixture
def bundle(tmp_path, small_bundle):
    return small_bundle.write_small_bundle(tmp_path / "bundle", budget={"min_cosine": 0.9, "max_slowdown": None})


@pytest.fixture
def verified(noise):
    def check(folder):
        with open_bundle(folder) as opened:
            folders = parse_data([str(noise)], opened.modalities, ())
            return verify_bundle(opened, folders, None, threads=1, seconds=0.02, memory=False)

    return check


def test_a_file_that_keeps_its_budget_is_not_looked_into(bundle, verified):
    assert verified(bundle)["blame"] == []


def test_the_layer_that_was_changed_is_named(bundle, small_bundle, verified):
    put_wrong_layer(bundle, small_bundle, 1)
    (row,) = verified(bundle)["blame"]
    nodes = onnx.load(bundle / f"artefacts/{FLOAT}/model.onnx").graph.node
    changed = next(node for node in nodes if "mix" in node.input)
    assert row["artefact"] == INT8 and row["limit"] == pytest.approx(0.15)
    assert row["first"]["layer"] == (changed.name or changed.output[0])
    assert row["first"]["own"] > 0.5
    before = row["layers"][: [own["layer"] for own in row["layers"]].index(row["first"]["layer"])]
    assert before and max(own["own"] for own in before) < 1e-6


def test_the_command_line_prints_the_layers_as_a_table_whatever_they_are_called(bundle, small_bundle, noise, capsys):
    def turn_and_rename(model):
        turn_about(model)
        node = next(node for node in model.graph.node if "mix" in node.input)
        node.name = "[/blocks.0]\x1b[2J"  # markup that ends nothing, and what clears a terminal

    put_wrong_layer(bundle, small_bundle, 1, turn_and_rename)
    assert run(["verify", str(bundle), "--data", str(noise), "--threads", "1"]) == 1
    said = capsys.readouterr().out
    assert f"layers of {INT8}: [/blocks.0]\ufffd[2J (" in said and "\x1b" not in said
    (blamed,) = (line.split() for line in said.splitlines() if " * " in line)
    (head,) = (line.split() for line in said.splitlines() if line.split()[:2] == ["layer", "operator"])
    assert head == ["layer", "operator", "error", "own", "cosine"]
    assert len(blamed) == 6 and float(blamed[4]) > 0.5


def test_a_float_file_has_no_source_in_the_bundle(bundle, small_bundle, verified):
    def put_nans(model):
        for entry in model.graph.initializer:
            if entry.name == "mix":
                entry.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry) * np.nan, "mix"))

    put_wrong_layer(bundle, small_bundle, 0, put_nans)
    said = {row["artefact"]: row for row in verified(bundle)["blame"]}
    assert said[FLOAT] == {"artefact": FLOAT, "absent": UNSOURCED}


def test_a_backend_without_layers_says_where_they_can_be_seen(bundle):
    wrong = [{"artefact": INT8, "check": "min_cosine", "ok": False}]
    with open_bundle(bundle) as opened:
        entries = {entry.name: entry for entry in opened.manifest.artefacts}
        sheet = Sheet(role=opened.modalities[0], columns={INT8: Column()})
        sheet.inputs["rgb"] = [np.zeros(entries[INT8].inputs["image"], np.float32)]
        without_layers = SimpleNamespace(backend=lambda _: SimpleNamespace(name="ncnn"))
        assert blame(without_layers, opened, entries, [sheet], wrong) == [{"artefact": INT8, "absent": UNSEEN}]


def test_without_the_package_onnx_it_says_what_to_install(bundle, small_bundle, verified, monkeypatch):
    put_wrong_layer(bundle, small_bundle, 1)
    monkeypatch.delitem(sys.modules, "edgefw.plugins.backends.onnx_layers", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    (row,) = verified(bundle)["blame"]
    assert 'looking into layers needs onnx. Run: pip install "edgefw[train]"' in row["absent"]


def test_a_file_that_does_not_run_is_not_looked_into(bundle, small_bundle, verified):
    file = bundle / f"artefacts/{INT8}/model.onnx"
    file.write_bytes(b"no graph")
    facts = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    small_bundle.change_manifest(bundle, lambda manifest: manifest["artefacts"][1].update(facts))
    found = verified(bundle)
    assert found["ok"] is False and found["blame"] == []


def changed_normalisation(role):
    def change(manifest):
        (step,) = [own for own in manifest["modalities"][role]["preprocessing"]["steps"] if own["name"] == "normalise"]
        step["mean"] = [0.1 * at for at in range(1, 4)]

    return change


def test_another_preprocessing_is_outside_the_graph_and_no_layer_is_blamed(bundle, small_bundle, verified):
    small_bundle.add_reference(bundle)
    assert verified(bundle)["ok"]
    found = verified(small_bundle.change_manifest(bundle, changed_normalisation("rgb")))
    broken = {row["artefact"] for row in found["budget"] if not row["ok"] and row["check"] == "max_reference_error"}
    assert broken == {FLOAT, INT8}
    assert found["blame"] == [{"artefact": name, "absent": OUTSIDE} for name in (FLOAT, INT8)]


def test_a_file_that_alone_answers_otherwise_is_looked_into(bundle, small_bundle, verified):
    small_bundle.add_reference(bundle)
    put_wrong_layer(bundle, small_bundle, 1)
    found = verified(bundle)
    assert [(row["artefact"], row["check"]) for row in found["budget"] if not row["ok"]] == [
        (INT8, "min_cosine"),
        (INT8, "max_reference_error"),
    ]
    (row,) = found["blame"]
    assert row["first"]["own"] > 0.5


def test_files_of_another_sensor_do_not_speak_for_it(bundle, small_bundle, verified):
    """The float file labels photographs alone; a fault of depth is then one of the int8 file alone."""
    small_bundle.add_reference(bundle)
    answers = json.loads((bundle / "reference.json").read_text())
    del answers["answers"][FLOAT]["depth"]
    (bundle / "reference.json").write_text(json.dumps(answers))
    small_bundle.change_manifest(bundle, lambda manifest: manifest["artefacts"][0].update(modalities=["rgb"]))
    found = verified(small_bundle.change_manifest(bundle, changed_normalisation("depth")))
    (row,) = found["blame"]
    assert row["artefact"] == INT8 and row.get("absent") != OUTSIDE
