"""Which file of a bundle `verify` calls the best: answers come before cost, and what the whole budget says counts."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefw.cli.main import run as command_line
from edgefw.labels.folders import parse_data
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.hashes import sha256_of
from edgefw.verifying.bundle_check import verify_bundle

FLOAT, INT8 = "onnxruntime-fp32", "onnxruntime-int8-static"
PADDING, MOST_MB = 200_000, 0.1


def change_file(folder, small_bundle, at, change):
    """Change one of the two files, with hashes that fit."""
    file = folder / f"artefacts/{(FLOAT, INT8)[at]}/model.onnx"
    model = onnx.load(file)
    change(model)
    onnx.save(model, file)
    facts = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    small_bundle.change_manifest(folder, lambda manifest: manifest["artefacts"][at].update(facts))


def turn(model):
    """Half of the first layer's channels change their sign."""
    for entry in model.graph.initializer:
        values = numpy_helper.to_array(entry)
        if values.ndim == 4:
            sign = np.where(np.arange(len(values)) % 2, 1, -1).astype(values.dtype)[:, None, None, None]
            entry.CopyFrom(numpy_helper.from_array(values * sign, entry.name))


def pad(model):
    model.doc_string = "-" * PADDING


@pytest.fixture
def bundle(tmp_path, small_bundle):
    """Its float file is larger than the budget allows an int8 file to be."""
    budget = {"min_cosine": 0.99, "max_mb": MOST_MB}
    folder = small_bundle.write_small_bundle(tmp_path / "bundle", budget=budget)
    change_file(folder, small_bundle, 0, pad)
    return folder


def verified(folder, images):
    with open_bundle(folder) as opened:
        folders = parse_data([str(images)], opened.modalities, ())
        return verify_bundle(opened, folders, None, threads=1, seconds=0.02, memory=False)


def test_the_small_file_is_the_best_while_its_answers_are_right(bundle, noise):
    found = verified(bundle, noise)
    assert found["ok"] is True and found["best"] == INT8
    assert not [text for text in found["warnings"] if "whole budget" in text]


def test_a_file_with_wrong_answers_is_not_the_best_however_small_it_is(bundle, small_bundle, noise):
    change_file(bundle, small_bundle, 1, turn)
    found = verified(bundle, noise)
    assert [(row["artefact"], row["check"]) for row in found["budget"] if not row["ok"]] == [(INT8, "min_cosine")]
    assert found["best"] == FLOAT
    assert not [text for text in found["warnings"] if "whole budget" in text]


def test_a_bundle_whose_files_all_answer_wrongly_has_no_best_without_a_caveat(bundle, small_bundle, noise, capsys):
    small_bundle.add_reference(bundle)

    def change(manifest):
        steps = manifest["modalities"]["rgb"]["preprocessing"]["steps"]
        next(own for own in steps if own["name"] == "normalise").update(mean=[0.9] * 3, std=[0.1] * 3)

    small_bundle.change_manifest(bundle, change)
    assert command_line(["verify", str(bundle), "--data", str(noise)]) == 1
    out, err = capsys.readouterr()
    failed = {line.split()[1].rstrip(":") for line in out.splitlines() if "FAIL" in line and "max_reference" in line}
    assert failed == {FLOAT, INT8}
    assert "best on this machine: none keeps the whole budget; onnxruntime-" in out
    assert "warning: no artefact keeps the whole budget; onnxruntime-" in err
    command_line(["verify", str(bundle), "--data", str(noise), "--json"])
    assert json.loads(capsys.readouterr().out)["best"] in (FLOAT, INT8)
