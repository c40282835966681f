"""Files with the preprocessing inside are judged by `verify BUNDLE`, against the files that they were made from."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from PIL import Image

from edgefw.cli.main import run as command_line
from edgefw.errors import BundleError
from edgefw.labels.folders import parse_data
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.hashes import sha256_of
from edgefw.runtime.opening import Opener
from edgefw.runtime.preprocessing import Preprocessing, Step
from edgefw.stages.folding import fold
from edgefw.verifying.bundle_check import verify_bundle

SOURCE, SIZE = "onnxruntime-fp32", 16
NAME = f"folded-rgb-{SOURCE}"
INT8 = "onnxruntime-int8-static"


def write_sharp_encoder(small_bundle, path):
    """(B, 3, 16, 16) to (B, 8): differences of neighbours, rectified, averaged and mixed; unlike a mean, it sees a filter."""
    rng = np.random.default_rng(3)
    weights = {
        "conv": rng.normal(size=(24, 3, 3, 3)).astype(np.float32),
        "mix": rng.normal(size=(8, 24)).astype(np.float32),
    }
    weights["conv"] -= weights["conv"].mean(axis=(2, 3), keepdims=True)
    small_bundle.save_encoder(path, weights, rectified=True)


def with_filter(contract, filter):
    steps = [
        Step(step.name, {**step.options, **({"filter": filter} if step.name == "resize" else {})})
        for step in contract.steps
    ]
    return Preprocessing(contract.modality, contract.options, tuple(steps))


def add_folded(small_bundle, folder, make, **stated):
    """Give a bundle a file with its preprocessing inside: `make(contract, source, target)` writes it."""
    file = folder / "folded" / NAME / "model.onnx"
    file.parent.mkdir(parents=True)
    with open_bundle(folder) as opened:
        source = opened.file(opened.manifest.artefacts[0])
        make(Opener(opened).preprocessing("rgb"), source, file)
    facts = {"file": f"folded/{NAME}/model.onnx", "sha256": sha256_of(file), "bytes": file.stat().st_size}

    def change(manifest):
        entry = manifest["artefacts"][0]
        own = {"name": NAME, "modalities": ["rgb"], "inputs": {"picture": [0, 0, 3]}, "source": SOURCE}
        manifest["folded"] = [{**entry, **own, **facts, **stated}]

    return small_bundle.change_manifest(folder, change)


@pytest.fixture
def bundle(tmp_path, small_bundle):
    """`bundle(make, **entry)`: two sharp float files, and one of them with its preprocessing inside."""

    def write(make, **stated):
        folder = small_bundle.write_small_bundle(tmp_path / "b", budget={"min_cosine": 0.99})
        facts = {}
        for row in json.loads((folder / "manifest.json").read_text())["artefacts"]:
            write_sharp_encoder(small_bundle, folder / row["file"])
            facts[row["name"]] = {
                "sha256": sha256_of(folder / row["file"]),
                "bytes": (folder / row["file"]).stat().st_size,
                "precision": "fp32",
            }
        small_bundle.change_manifest(
            folder, lambda manifest: [entry.update(facts[entry["name"]]) for entry in manifest["artefacts"]]
        )
        return add_folded(small_bundle, folder, make, **stated)

    return write


@pytest.fixture
def photographs(tmp_path):
    """Eight pictures of waves and soft noise, of several sizes."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(8):
        draw = np.random.default_rng(number)
        height, width = 40 + 7 * number, 60 - 4 * number
        rows, columns = np.mgrid[:height, :width]
        waves = 127 + 60 * np.sin(rows / (2 + number) + columns / 3)
        pixels = waves[..., None] + draw.normal(0, 30, (height, width, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def verified(folder, images, pack=False, **options):
    with open_bundle(folder) as opened:
        folders = parse_data([str(images)], opened.modalities, ())
        labels = opened.label_pack() if pack else None
        return verify_bundle(opened, folders, labels, threads=1, seconds=0.02, memory=False, **options)


def as_stated(contract, source, target):
    fold(source, contract, target)


def bilinear(contract, source, target):
    fold(source, with_filter(contract, "bilinear"), target)


def test_a_right_file_keeps_its_limits_and_is_named(bundle, photographs):
    found = verified(bundle(as_stated), photographs, pack=True)
    (row,) = found["folded"]
    assert (row["name"], row["source"], row["modality"], row["precision"]) == (NAME, SOURCE, "rgb", "fp32")
    assert (row["n"], row["not_finite"], row["top1_agreement"]) == (8, 0, 1.0)
    assert row["cosine_min"] > 0.9999 and row["relative_error_max"] < 0.003
    checked = {own["check"]: own for own in found["budget"] if own["artefact"] == NAME}
    assert set(checked) == {"min_cosine", "max_folded_error", "max_not_finite"}
    assert 1e-4 < checked["max_folded_error"]["limit"] < 0.01
    assert found["ok"] and not [text for text in found["warnings"] if NAME in text]


def test_another_resize_filter_breaks_the_relative_error_alone(bundle, photographs):
    found = verified(bundle(bilinear), photographs)
    failed = [(row["artefact"], row["check"]) for row in found["budget"] if not row["ok"]]
    assert failed == [(NAME, "max_folded_error")] and found["ok"] is False
    (row,) = found["folded"]
    assert row["cosine_mean"] > 0.99 and row["relative_error_max"] > 0.02


def test_red_for_blue_is_seen(bundle, photographs):
    def swapped(contract, source, target):
        fold(source, contract, target)
        model = onnx.load(target)
        first, _, last = [node for node in model.graph.node if node.op_type == "Gather" and node.input[0] == "picture"]
        first.input[1], last.input[1] = last.input[1], first.input[1]
        onnx.save(model, target)

    found = verified(bundle(swapped), photographs)
    assert {row["artefact"] for row in found["budget"] if not row["ok"]} == {NAME}


def test_the_command_prints_it_and_fails(bundle, photographs, capsys):
    assert command_line(["verify", str(bundle(bilinear)), "--data", str(photographs)]) == 1
    said = capsys.readouterr()
    assert f"{NAME:<32} cosine 0.99" in said.out and f"at most, to {SOURCE}" in said.out
    assert f"FAIL {NAME}: max_folded_error" in said.out


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda contract, source, target: target.write_bytes(b"no graph"), "does not open ("),
        (
            lambda contract, source, target: target.write_bytes(source.read_bytes()),
            "fails on a picture of (40, 60, 3) (",
        ),
    ],
    ids=["no-graph", "no-picture"],
)
def test_a_file_that_does_not_run_is_a_failed_check(bundle, photographs, make, why):
    found = verified(bundle(make), photographs)
    (row,) = [row for row in found["budget"] if row["artefact"] == NAME]
    assert (row["check"], row["ok"]) == ("runs", False) and row["why"].startswith(why)


def test_an_older_bundle_says_the_source_in_the_name(bundle, photographs):
    (row,) = verified(bundle(as_stated, source=None), photographs)["folded"]
    assert row["source"] == SOURCE


def test_what_is_not_judged_is_said(bundle, photographs, tmp_path):
    folder = bundle(as_stated, source=INT8)
    found = verified(folder, photographs, without=[INT8])
    assert "folded" not in found
    assert f"{NAME} is not judged: {INT8}, which it was made from, was left out" in found["warnings"]
    depth = tmp_path / "depth"
    depth.mkdir()
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)).save(depth / "0.png")
    assert f"{NAME} is not measured: give --data rgb=DIR too" in verified(folder, f"depth={depth}")["warnings"]


def test_a_file_whose_source_fails_is_not_held_against_it(bundle, photographs, small_bundle):
    folder = bundle(as_stated)
    file = folder / f"artefacts/{SOURCE}/model.onnx"
    file.write_bytes(b"no graph")
    facts = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    small_bundle.change_manifest(folder, lambda manifest: manifest["artefacts"][0].update(facts))
    found = verified(folder, photographs)
    assert "folded" not in found and found["ok"] is False


def test_a_file_of_two_modalities_is_no_manifest(bundle):
    with (
        pytest.raises(BundleError, match="takes rgb, depth; it must take one modality"),
        open_bundle(bundle(as_stated, modalities=["rgb", "depth"])),
    ):
        pass


def test_no_torch_is_imported(bundle, photographs):
    code = (
        "import sys\n"
        "from edgefw.cli.main import run\n"
        f"code = run(['verify', {str(bundle(as_stated))!r}, '--data', {str(photographs)!r}])\n"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and NAME in done.stdout, done.stderr[-2000:]
