"""Real ONNX files that fail on some images alone: `verify BUNDLE` finds them and judges the others."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from edgefw.cli.main import run as command_line
from edgefw.labels.folders import parse_data
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.hashes import sha256_of
from edgefw.verifying.bundle_check import verify_bundle

FLOAT, INT8 = "onnxruntime-fp32", "onnxruntime-int8-static"
DARK, BRIGHT = 40, 220


def change_file(folder, small_bundle, name, change, **facts):
    """Change one artefact's graph, with hashes that fit."""
    entry = next(row for row in json.loads((folder / "manifest.json").read_text())["artefacts"] if row["name"] == name)
    file = folder / entry["file"]
    model = onnx.load(file)
    change(model.graph)
    onnx.save(model, file)
    facts |= {"sha256": sha256_of(file), "bytes": file.stat().st_size}

    def update(manifest):
        next(row for row in manifest["artefacts"] if row["name"] == name).update(facts)

    small_bundle.change_manifest(folder, update)


def looks_up(reduce):
    """A change: the answer is multiplied by the first and only entry of a table, number floor(relu(reduce(images)))."""

    def change(graph):
        node = onnx.helper.make_node
        (last,) = [own for own in graph.node if "embedding" in own.output]
        last.output[:] = ["answer"]
        graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "table"))
        graph.node.extend(
            [
                node(reduce, ["image"], ["level"], keepdims=0),
                node("Relu", ["level"], ["above"]),
                node("Floor", ["above"], ["whole"]),
                node("Cast", ["whole"], ["place"], to=onnx.TensorProto.INT64),
                node("Gather", ["table", "place"], ["one"]),
                node("Mul", ["answer", "one"], ["embedding"]),
            ]
        )

    return change


def pictures(folder, *levels):
    folder.mkdir()
    for number, level in enumerate(levels):
        noise = np.random.default_rng(number).integers(-20, 20, (20, 20, 3))
        Image.fromarray((level + noise).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def verified(folder, *images, batch=2):
    with open_bundle(folder) as opened:
        folders = parse_data([*map(str, images)], opened.modalities, ())
        return verify_bundle(opened, folders, None, threads=1, seconds=0.02, memory=False, batch=batch)


def runs(found):
    return {row["artefact"]: row["why"] for row in found["budget"] if row["check"] == "runs"}


@pytest.fixture
def bundle(tmp_path, small_bundle):
    return small_bundle.write_small_bundle(tmp_path / "bundle")


def test_a_file_that_fails_on_the_last_image_is_a_row_and_the_other_is_judged(bundle, small_bundle, tmp_path):
    change_file(bundle, small_bundle, INT8, looks_up("ReduceMax"))
    images = pictures(tmp_path / "images", DARK, DARK, DARK, DARK, BRIGHT)
    found = verified(bundle, images)
    assert list(runs(found)) == [INT8]
    assert runs(found)[INT8].startswith("fails on a batch of 1 (") and "out of data bounds" in runs(found)[INT8]
    assert found["ok"] is False and found["unjudged"] == []
    assert [(row["name"], row["reference"]) for row in found["artefacts"]] == [(FLOAT, FLOAT)]
    assert found["samples"] == {"rgb": 5} and found["best"] == FLOAT
    assert {row["check"]: row["ok"] for row in found["budget"] if row["artefact"] == FLOAT} == {"max_not_finite": True}


def test_an_image_that_a_file_takes_in_a_batch_and_not_alone_is_found(bundle, small_bundle, tmp_path):
    """The mean of dark images and a bright one is dark."""
    change_file(bundle, small_bundle, INT8, looks_up("ReduceMean"))
    found = verified(bundle, pictures(tmp_path / "images", DARK, DARK, DARK, BRIGHT), batch=4)
    assert runs(found)[INT8].startswith("fails on a batch of 1 (")
    assert [row["name"] for row in found["artefacts"]] == [FLOAT]


def test_what_was_held_against_a_float_file_that_fails_is_not_judged(bundle, small_bundle, tmp_path):
    change_file(bundle, small_bundle, FLOAT, looks_up("ReduceMax"))
    found = verified(bundle, pictures(tmp_path / "images", DARK, DARK, BRIGHT))
    assert list(runs(found)) == [FLOAT]
    why = f"there is nothing to hold it against: its float file {FLOAT} does not run"
    assert [(row["name"], row["why"]) for row in found["unjudged"]] == [(INT8, why)]
    assert found["artefacts"] == [] and found["best"] is None and found["ok"] is False


def test_a_sensor_whose_only_file_fails_is_left_out_and_the_other_is_judged(bundle, small_bundle, tmp_path):
    change_file(bundle, small_bundle, FLOAT, looks_up("ReduceMax"), modalities=["rgb"])
    change_file(bundle, small_bundle, INT8, lambda graph: None, modalities=["depth"], precision="fp32")
    images = pictures(tmp_path / "images", DARK, DARK, BRIGHT)
    (tmp_path / "depth").mkdir()
    Image.fromarray(np.full((20, 20), 900, np.uint16)).save(tmp_path / "depth" / "1.png")
    found = verified(bundle, images, f"depth={tmp_path / 'depth'}")
    assert list(runs(found)) == [FLOAT] and found["unjudged"] == []
    assert [row["name"] for row in found["artefacts"]] == [INT8] and found["samples"] == {"depth": 1}


def test_the_command_prints_the_row_and_exits_with_1(bundle, small_bundle, tmp_path, capsys):
    change_file(bundle, small_bundle, FLOAT, looks_up("ReduceMax"))
    images = pictures(tmp_path / "images", DARK, BRIGHT)
    assert command_line(["verify", str(bundle), "--data", str(images)]) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert f"FAIL {FLOAT}: fails on a batch of 2" in out
    assert f"{FLOAT}: does not run: fails on a batch of 2" in err
    assert "best on this machine: none" in out
