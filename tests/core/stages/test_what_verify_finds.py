"""Files and bundles that went wrong after a right export: each is found, and what is right is judged all the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefw.cli.main import run as command_line
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.hashes import sha256_of, write_sums
from edgefw.runtime.opening import Opener
from edgefw.runtime.probes import pattern_images
from edgefw.runtime.reference import read_reference
from edgefw.verifying.reference_check import reference_rows
from edgefw.verifying.reverify import verify_run


def change_weights(file: Path, change) -> None:
    """Change the weights of the first convolution of a float file."""
    model = onnx.load(file)
    entry = next(entry for entry in model.graph.initializer if len(entry.dims) == 4)
    entry.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(entry)).astype(np.float32), entry.name))
    onnx.save(model, file)


SONAR_CHIP = '''"""A backend for tests."""
import edgefw

def build(config, context):
    return object()

@edgefw.hookimpl
def edgefw_register_backends(register):
    register(edgefw.Technique(name="sonar-chip", config=edgefw.NoOptions, build=build, requires=("sonar_chip_sdk",)))
'''
FAULTS = [
    pytest.param(lambda w: w[:, ::-1], id="swapped channels"),
    pytest.param(lambda w: w * 2, id="one layer off by two", marks=pytest.mark.slow),
    pytest.param(lambda w: w * (np.arange(len(w)) % 2)[:, None, None, None], id="lost", marks=pytest.mark.slow),
    pytest.param(lambda w: w * np.nan, id="not a number", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_wrong_is_found_whatever_export_said(copy, fault):
    change_weights(copy / "export/onnxruntime-fp32/model.onnx", fault)
    found = verify_run(copy)
    record = next(row for row in found["artefacts"] if row["name"] == "onnxruntime-fp32")
    assert record["cosine_mean"] < 0.9999 or record["relative_error_mean"] > 0.01
    assert record["sha256"] != sha256_of(copy / "export/onnxruntime-fp32/model.onnx")


def test_a_file_that_does_not_open_fails_and_the_other_is_judged(copy):
    file = copy / "export/onnxruntime-int8-static/model.onnx"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    found = verify_run(copy)
    assert [row["name"] for row in found["artefacts"]] == ["onnxruntime-fp32"]
    failed = next(row for row in found["budget"] if row["artefact"] == "onnxruntime-int8-static")
    assert (failed["check"], failed["ok"]) == ("runs", False)
    assert "onnxruntime cannot load it" in failed["why"]
    assert json.loads((copy / "result.json").read_text())["status"] == "gate-failed"


def test_a_file_whose_runtime_is_missing_is_named_and_the_other_is_judged(copy, result, site, capsys):
    site.install("sonar-chip", {"edgefw.backends": {"sonar-chip": "sonar_chip"}}, {"sonar_chip.py": SONAR_CHIP})
    text = (copy / "resolved.yaml").read_text()
    (copy / "resolved.yaml").write_text(text.replace("  backends:\n", "  backends:\n  - name: sonar-chip\n"))
    stated = result(copy, "export")
    stated["artefacts"][1]["backend"] = "sonar-chip"
    (copy / "export/result.json").write_text(json.dumps(stated))
    stage = json.loads((copy / "export/stage.json").read_text())
    stage["files"]["result.json"] = (copy / "export/result.json").stat().st_size
    (copy / "export/stage.json").write_text(json.dumps(stage))
    assert command_line(["verify", str(copy), "--json"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert [row["name"] for row in found["artefacts"]] == ["onnxruntime-fp32"]
    assert found["unjudged"][0]["name"] == "onnxruntime-int8-static"
    assert "needs the package 'sonar_chip_sdk'" in found["unjudged"][0]["why"]
    assert "Not everything was judged:\n  onnxruntime-int8-static: " in captured.err
    assert json.loads((copy / "result.json").read_text())["status"] == "gate-failed"


def reseal(bundle: Path, change) -> None:
    """Change a bundle's manifest, with hashes that fit."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    write_sums(bundle)


def test_a_bundle_that_prepares_images_otherwise_fails_the_runs_gate(copy, capsys):
    def change(manifest):
        manifest["modalities"]["depth"]["preprocessing"]["steps"][0]["far"] = 8.0

    reseal(copy / "bundle", change)
    assert command_line(["verify", str(copy)]) == 1
    captured = capsys.readouterr()
    assert "FAIL onnxruntime-fp32: max_reference_error" in captured.out
    assert "ok   labels.json: max_label_error" in captured.out
    assert "FAIL onnxruntime-int8-static: max_reference_error" in captured.out
    assert "best on this machine: none keeps the whole budget; onnxruntime-" in captured.out
    assert "warning: no artefact keeps the whole budget; onnxruntime-" in captured.err


def test_the_bundle_carries_what_the_network_said(run):
    reference = read_reference(run / "bundle/reference.json")
    with open_bundle(run) as opened:
        assert all(row["ok"] for row in reference_rows(opened, reference))
        runner = Opener(opened).runner(opened.artefact("onnxruntime-fp32"), 1)
        contract = Opener(opened).preprocessing("rgb")
        images = np.stack([contract(image) for image in pattern_images(reference.probes["rgb"])])
        said = runner.run({"image": images})
        np.testing.assert_allclose(reference.rows(reference.student["rgb"]), said, rtol=1e-3, atol=1e-5)
        probabilities = opened.label_pack().probabilities(said)
    np.testing.assert_allclose(reference.probabilities["rgb"], probabilities, atol=0.01)


def test_a_file_that_gives_nan_on_a_black_frame_fails(copy):
    file = copy / "export/onnxruntime-fp32/model.onnx"
    model = onnx.load(file)
    name, axes = model.graph.input[0].name, numpy_helper.from_array(np.array([2, 3]), "axes")
    for node in model.graph.node:
        node.input[:] = ["lit" if own == name else own for own in node.input]
    chain = [
        onnx.helper.make_node("ReduceMax", [name, "axes"], ["high"]),
        onnx.helper.make_node("ReduceMin", [name, "axes"], ["low"]),
        onnx.helper.make_node("Sub", ["high", "low"], ["range"]),
        onnx.helper.make_node("Div", ["range", "range"], ["one"]),
        onnx.helper.make_node("Mul", [name, "one"], ["lit"]),
    ]
    for position, node in enumerate(chain):
        model.graph.node.insert(position, node)
    model.graph.initializer.append(axes)
    size = file.stat().st_size
    onnx.save(model, file)
    stage = json.loads((copy / "export/stage.json").read_text())
    stage["files"]["onnxruntime-fp32/model.onnx"] = file.stat().st_size
    (copy / "export/stage.json").write_text(json.dumps(stage))
    assert file.stat().st_size > size
    rows = {(row["artefact"], row["check"]): row for row in verify_run(copy)["budget"]}
    assert rows["onnxruntime-fp32", "max_not_finite"]["value"] >= 1
    assert not rows["onnxruntime-fp32", "max_not_finite"]["ok"]
    assert rows["onnxruntime-fp32", "min_cosine"]["ok"]
    assert rows["onnxruntime-int8-static", "max_not_finite"]["ok"]
