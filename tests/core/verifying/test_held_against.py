"""What a bundle's file is held against: its own float file, whatever that one computes in."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefw.errors import BundleError
from edgefw.labels.folders import parse_data
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.hashes import sha256_of
from edgefw.verifying.bundle_check import verify_bundle

FLOAT, INT8 = "onnxruntime-fp32", "onnxruntime-int8-static"


def turned(weights):
    """Rows change places, and half of them their sign: another embedding of the same width."""
    return np.roll(weights, 3, axis=0) * np.where(np.arange(len(weights)) % 2, 1, -1)[:, None]


def broken(folder, small_bundle, **facts):
    """Put a float file with other weights in the place of the int8 file, with hashes that fit."""
    float_file, file = (folder / f"artefacts/{name}/model.onnx" for name in (FLOAT, INT8))
    model = onnx.load(float_file)
    entry = next(own for own in model.graph.initializer if own.name == "mix")
    entry.CopyFrom(numpy_helper.from_array(turned(numpy_helper.to_array(entry)).astype(np.float32), "mix"))
    onnx.save(model, file)
    facts |= {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    small_bundle.change_manifest(folder, lambda manifest: manifest["artefacts"][1].update(facts))


@pytest.fixture
def bundle(tmp_path, small_bundle):
    return small_bundle.write_small_bundle(tmp_path / "bundle", budget={"min_cosine": 0.9, "max_ms": 1e6})


@pytest.fixture
def verified(noise):
    def check(folder, **options):
        with open_bundle(folder) as opened:
            folders = parse_data([str(noise)], opened.modalities, ())
            return verify_bundle(opened, folders, None, threads=1, seconds=0.02, memory=False, **options)

    return check


def computing_in(small_bundle, folder, precision):
    """The float file says that it computes in that, and the int8 file that it was made from it."""

    def change(manifest):
        manifest["artefacts"][0].update(precision=precision)
        manifest["artefacts"][1].update(source=FLOAT)

    small_bundle.change_manifest(folder, change)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_an_int8_file_is_held_against_the_float_file_it_was_made_from(bundle, small_bundle, verified, precision):
    computing_in(small_bundle, bundle, precision)
    before = verified(bundle)
    assert before["ok"] is True and before["artefacts"][1]["reference"] == FLOAT
    assert 0.9 < before["artefacts"][1]["cosine_mean"] < 1.0
    broken(bundle, small_bundle)
    found = verified(bundle)
    row = next(row for row in found["budget"] if (row["artefact"], row["check"]) == (INT8, "min_cosine"))
    assert row["value"] < 0.5 and not row["ok"] and found["ok"] is False


def test_only_the_cost_of_what_was_made_from_a_bf16_file_is_judged(bundle, small_bundle, verified):
    computing_in(small_bundle, bundle, "bf16")
    assert [row["artefact"] for row in verified(bundle)["budget"] if row["check"] == "max_ms"] == [INT8]


def test_another_fp32_file_does_not_take_the_place_of_its_source(bundle, small_bundle, verified):
    """Two float files; the int8 file was made from the second, in bf16, and the first says something else."""
    float_file, third = bundle / f"artefacts/{FLOAT}/model.onnx", bundle / "artefacts/another-bf16/model.onnx"
    third.parent.mkdir()
    third.write_bytes(float_file.read_bytes())
    entry = json.loads((bundle / "manifest.json").read_text())["artefacts"][0]
    place = {"name": "another-bf16", "precision": "bf16", "file": "artefacts/another-bf16/model.onnx"}

    def change(manifest):
        manifest["artefacts"].insert(1, {**entry, **place})
        manifest["artefacts"][2].update(source="another-bf16")

    small_bundle.change_manifest(bundle, change)
    found = verified(bundle)
    assert [row["reference"] for row in found["artefacts"]] == [FLOAT, FLOAT, "another-bf16"]
    found = verified(bundle, without=["another-bf16"])
    assert [row["reference"] for row in found["artefacts"]] == [FLOAT, FLOAT]


def test_a_bf16_source_that_was_left_out_leaves_nothing_to_hold_its_int8_file_against(bundle, small_bundle, verified):
    computing_in(small_bundle, bundle, "bf16")
    with pytest.raises(
        BundleError, match=f"{INT8}: there is nothing to hold it against: its float file {FLOAT} was not"
    ):
        verified(bundle, without=[FLOAT])


@pytest.mark.parametrize(
    "changes", [{"source": INT8}, {"source": FLOAT, "modalities": ["rgb"]}], ids=["itself", "sensors"]
)
def test_a_source_that_cannot_be_one_is_refused(bundle, small_bundle, verified, changes):
    small_bundle.change_manifest(bundle, lambda manifest: manifest["artefacts"][1].update(changes))
    with pytest.raises(BundleError, match=f"'{INT8}' was made from '{changes['source']}', which must be another one"):
        verified(bundle)
