"""A bundle on another machine: its quantised files are held against its float file's time there."""

import numpy as np
import pytest
from PIL import Image

from edgefw.errors import BundleError
from edgefw.labels.folders import parse_data
from edgefw.runtime.bundle import open_bundle
from edgefw.verifying.bundle_check import verify_bundle


@pytest.fixture
def verified(tmp_path, small_bundle):
    """`verified(change, **options)`: a bundle whose manifest was changed, on one image."""
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "images" / "1.png")

    def check(change, **options):
        folder = small_bundle.change_manifest(small_bundle.write_small_bundle(tmp_path / "b"), change)
        with open_bundle(folder) as opened:
            folders = parse_data([str(tmp_path / "images")], opened.modalities, ())
            return verify_bundle(opened, folders, None, threads=1, seconds=0.02, memory=False, **options)

    return check


def test_what_verify_found_in_a_file_is_told_of_the_bundle(verified) -> None:
    quality = {"precision": "fp32", "int8_share": 0.0}
    found = verified(lambda manifest: manifest["artefacts"][1].update(quality=quality))
    rows = [(row["name"], row["precision"], row["int8_share"]) for row in found["artefacts"]]
    assert rows == [("onnxruntime-fp32", "fp32", None), ("onnxruntime-int8-static", "fp32", 0.0)]


@pytest.mark.parametrize("source", ["onnxruntime-fp32", None])
def test_a_float_file_in_bf16_is_the_one_to_be_as_fast_as_if_the_bundle_says_so(verified, source) -> None:
    def change(manifest):
        manifest["artefacts"][0].update(precision="bf16")
        manifest["artefacts"][1].update(source=source)
        manifest["budget"] = {"max_slowdown": 1e6}

    found = verified(change)
    assert [row["check"] for row in found["budget"]].count("max_slowdown") == (1 if source else 0)
    told = [text for text in found["warnings"] if text.startswith("max_slowdown is not judged for")]
    reason = "the bundle does not say which float file it was made from; an older edgefw wrote it"
    assert told == ([] if source else [f"max_slowdown is not judged for onnxruntime-int8-static: {reason}"])


def test_a_float_file_that_was_left_out_leaves_the_time_unjudged(verified) -> None:
    """Another fp32 file says the same; only its own float file's time is no other's."""

    def change(manifest):
        manifest["artefacts"].insert(1, {**manifest["artefacts"][0], "name": "own-bf16", "precision": "bf16"})
        manifest["artefacts"][2].update(source="own-bf16", precision="other")
        manifest["budget"] = {"max_slowdown": 1e6}

    found = verified(change, without=["own-bf16"])
    (told,) = [text for text in found["warnings"] if "max_slowdown" in text]
    assert told == "max_slowdown is not judged for onnxruntime-int8-static: its float file own-bf16 was not timed"


def test_a_float_file_of_another_entry_of_the_backend_is_no_copy_of_the_first(verified) -> None:
    def change(manifest):
        other = {**manifest["artefacts"][0], "name": "onnxruntime-plain-fp32"}
        manifest["artefacts"].insert(1, {**other, "options": {**other["options"], "optimise": "none"}})
        manifest["budget"] = {"max_slowdown": 1e6, "max_mb": 1e6}

    found = verified(change)
    costs = [(row["artefact"], row["check"]) for row in found["budget"] if row["check"] in ("max_slowdown", "max_mb")]
    assert costs == [("onnxruntime-int8-static", "max_slowdown"), ("onnxruntime-int8-static", "max_mb")]


def test_a_source_that_is_not_in_the_bundle_is_refused(verified) -> None:
    with pytest.raises(BundleError, match="'onnxruntime-int8-static' was made from unknown artefact 'gone'"):
        verified(lambda manifest: manifest["artefacts"][1].update(source="gone"))


@pytest.mark.parametrize(("limit", "ok"), [(1e-6, False), (1e6, True), (None, None)])
def test_a_bundle_carries_its_limit(tmp_path, small_bundle, limit, ok) -> None:
    folder = small_bundle.write_small_bundle(tmp_path / "b", budget={"max_slowdown": limit})
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "1.png")
    with open_bundle(folder) as opened:
        folders = parse_data([str(tmp_path / "images")], opened.modalities, ())
        found = verify_bundle(opened, folders, None, threads=1, seconds=0.02, memory=False)
    rows = {row["artefact"]: row["ok"] for row in found["budget"] if row["check"] == "max_slowdown"}
    assert rows == ({} if ok is None else {"onnxruntime-int8-static": ok})
    slowdowns = {row["name"]: row["slowdown"] for row in found["artefacts"]}
    assert slowdowns["onnxruntime-fp32"] is None and slowdowns["onnxruntime-int8-static"] > 0
    for row in found["artefacts"]:
        assert bool(row["warnings"]) == ((row["slowdown"] or 0.0) > 1.05)
        assert all(text.startswith("slower than its float source on this machine") for text in row["warnings"])


@pytest.mark.parametrize("precision", ["int8-qat", "qvit"])
def test_a_student_that_learned_to_round_has_no_float_file_and_the_bundle_says_what_its_run_found(
    verified, precision
) -> None:
    def change(manifest):
        manifest["artefacts"][0].update(precision=precision)
        manifest["artefacts"][1].update(precision=precision, quality={"slowdown": 1.5})
        manifest["budget"] = {"max_slowdown": 1e6}

    found = verified(change)
    reason = "its student learned to round, so the bundle has no float file"
    assert [text for text in found["warnings"] if "max_slowdown" in text] == [
        f"max_slowdown is not judged for onnxruntime-fp32: {reason}",
        f"max_slowdown is not judged for onnxruntime-int8-static: {reason}; where it was made, it took 1.50 times as long as in float",
    ]
    assert not any(row["check"] == "max_slowdown" for row in found["budget"])


@pytest.mark.parametrize(("precision", "counts"), [("qvit", 1), ("weight-only", 1), ("fp16", 0), ("bf16", 0)])
def test_every_precision_that_is_no_float_type_is_a_quantizers(verified, precision, counts) -> None:
    def change(manifest):
        manifest["artefacts"][0].update(precision="bf16")
        manifest["artefacts"][1].update(precision=precision)
        manifest["budget"] = {"max_slowdown": 1e6}

    told = [text for text in verified(change)["warnings"] if text.startswith("max_slowdown is not judged for")]
    assert len(told) == counts
