"""Real ONNX files that fail, or give NaN, on some images alone: `verify BUNDLE` finds them and judges the others."""

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


def by_contrast(graph):
    """A change: images are multiplied by their range over itself, which is 1, and of a flat image NaN."""
    for own in graph.node:
        own.input[:] = ["lit" if name == "image" else name for name in own.input]
    chain = [
        ("ReduceMax", ["image", "axes"], ["high"]),
        ("ReduceMin", ["image", "axes"], ["low"]),
        ("Sub", ["high", "low"], ["range"]),
        ("Div", ["range", "range"], ["unit"]),
        ("Mul", ["image", "unit"], ["lit"]),
    ]
    for place, (kind, inputs, outputs) in enumerate(chain):
        graph.node.insert(place, onnx.helper.make_node(kind, inputs, outputs))
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "axes"))


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


def test_nan_on_a_black_frame_is_found_where_no_image_of_the_folder_is_black(bundle, small_bundle, tmp_path):
    change_file(bundle, small_bundle, FLOAT, by_contrast)
    images = pictures(tmp_path / "images", DARK, BRIGHT)
    before = verified(bundle, images)
    assert before["ok"] is True
    told = "the bundle carries no reference answers, so no image was drawn; an older edgefw wrote it"
    assert told in before["warnings"]
    found = verified(small_bundle.add_reference(bundle), images)
    rows = {(row["artefact"], row["check"]): row for row in found["budget"]}
    black_white_and_grey_of_two_sensors = 6
    assert rows[FLOAT, "max_not_finite"]["value"] == black_white_and_grey_of_two_sensors
    assert not rows[FLOAT, "max_not_finite"]["ok"] and rows[FLOAT, "max_reference_error"]["ok"]
    assert rows[INT8, "max_not_finite"]["value"] == 0
    assert found["ok"] is False and found["warnings"] == [text for text in before["warnings"] if text != told]
    assert [row["not_finite"] for row in found["artefacts"]] == [6, 0]


def test_a_file_of_a_sensor_without_a_folder_sees_drawn_images_too(bundle, small_bundle, tmp_path):
    change_file(bundle, small_bundle, FLOAT, by_contrast, modalities=["depth"])
    change_file(bundle, small_bundle, INT8, lambda graph: None, modalities=["rgb"], precision="fp32")
    found = verified(small_bundle.add_reference(bundle), pictures(tmp_path / "images", DARK, BRIGHT))
    assert [row["name"] for row in found["artefacts"]] == [INT8]
    rows = {row["artefact"]: row["value"] for row in found["budget"] if row["check"] == "max_not_finite"}
    assert rows == {FLOAT: 3, INT8: 0}


def test_a_file_that_fails_on_a_drawn_image_is_one_row(bundle, small_bundle, tmp_path):
    small_bundle.add_reference(bundle)
    change_file(bundle, small_bundle, INT8, looks_up("ReduceMax"))
    found = verified(bundle, pictures(tmp_path / "images", DARK, DARK))
    assert runs(found)[INT8].startswith("fails on a batch of 3 (")
    assert [row["check"] for row in found["budget"] if row["artefact"] == INT8] == ["runs"]
    assert [row["name"] for row in found["artefacts"]] == [FLOAT]


def test_a_sensor_that_no_image_can_be_drawn_of_is_named(bundle, small_bundle, tmp_path):
    small_bundle.add_reference(bundle)
    document = json.loads((bundle / "reference.json").read_text())
    for part in ("probes", "student", "probabilities", "inputs", *(("answers", name) for name in document["answers"])):
        own = document[part] if isinstance(part, str) else document[part[0]][part[1]]
        own.pop("depth")
    (bundle / "reference.json").write_text(json.dumps(document))
    small_bundle.change_manifest(bundle, lambda manifest: None)
    found = verified(bundle, pictures(tmp_path / "images", DARK, BRIGHT))
    assert found["ok"] is True
    assert "no image of depth was drawn: no held-out sample had it when the bundle was written" in found["warnings"]


def test_only_the_file_that_gives_nan_is_said_to(bundle, small_bundle, tmp_path):
    """What is compared with it has a cosine that is no number, and finite answers."""
    change_file(bundle, small_bundle, FLOAT, by_contrast)
    images = pictures(tmp_path / "images", DARK)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(images / "cap.png")
    rows = {row["artefact"]: row for row in verified(bundle, images)["budget"] if row["check"] == "max_not_finite"}
    assert (rows[FLOAT]["value"], rows[INT8]["value"]) == (1, 0)
