"""Real files of a bundle that are wrong at batch 1, and there alone: what a camera would run."""

import pytest

from edgefw.labels.folders import parse_data
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.hashes import sha256_of
from edgefw.verifying.bundle_check import verify_bundle

FLOAT, INT8 = "onnxruntime-fp32", "onnxruntime-int8-static"
LIMITS = {"max_error": 0.01, "max_batch_error": 0.25, "min_cosine": 0.9}


@pytest.fixture
def bundle(tmp_path, small_bundle):
    return small_bundle.write_small_bundle(tmp_path / "bundle", budget=LIMITS)


@pytest.fixture
def verified(noise):
    def check(folder):
        with open_bundle(folder) as opened:
            folders = parse_data([str(noise)], opened.modalities, ())
            found = verify_bundle(opened, folders, None, threads=1, seconds=0.02, memory=False)
        return found, {(row["artefact"], row["check"]): row for row in found["budget"]}

    return check


def change(small_bundle, bundle, number, alter, **facts):
    """Alter a file of the bundle, with hashes that fit."""
    file = bundle / f"artefacts/{(FLOAT, INT8)[number]}/model.onnx"
    alter(file)
    facts |= {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    small_bundle.change_manifest(bundle, lambda manifest: manifest["artefacts"][number].update(facts))


def test_right_files_say_the_same_alone_and_pass(bundle, verified):
    found, rows = verified(bundle)
    one, other = found["artefacts"]
    assert found["ok"] is True and one["batch_1"] is None
    assert other["batch_1"]["relative_error_max"] < 0.1 and other["batch_1"]["cosine_min"] > 0.99
    assert other["modalities"]["rgb"]["batch_1"]["n"] == 3
    assert rows[FLOAT, "max_batch_error"]["limit"] == 0.01 and rows[INT8, "max_batch_error"]["limit"] == 0.25


def test_the_first_float_file_is_held_to_its_own_answers_in_a_batch(bundle, small_bundle, off_when_alone, verified):
    change(small_bundle, bundle, 0, lambda file: off_when_alone(file, 1.2))
    found, rows = verified(bundle)
    assert rows[FLOAT, "max_batch_error"]["value"] == pytest.approx(0.2, abs=1e-5)
    assert not rows[FLOAT, "max_batch_error"]["ok"] and found["ok"] is False
    assert rows[INT8, "min_cosine"]["ok"] and found["artefacts"][1]["batch_1"]["relative_error_max"] < 0.1


def test_another_float_file_is_held_to_the_first_ones_answers_at_batch_1_too(
    bundle, small_bundle, off_when_alone, verified
):
    def other_float(file):
        file.write_bytes((bundle / f"artefacts/{FLOAT}/model.onnx").read_bytes())
        off_when_alone(file, 1.2)

    change(small_bundle, bundle, 1, other_float, precision="fp32")
    found, rows = verified(bundle)
    record = found["artefacts"][1]
    assert record["relative_error_max"] < 1e-5 and record["cosine_min"] > 0.9999
    assert record["batch_1"]["relative_error_max"] == pytest.approx(0.2, abs=1e-5)
    assert rows[INT8, "max_error"]["value"] == pytest.approx(0.2, abs=1e-5)
    assert not rows[INT8, "max_error"]["ok"] and not rows[INT8, "max_batch_error"]["ok"]
    assert rows[FLOAT, "max_batch_error"]["ok"]


@pytest.mark.parametrize(("factor", "ok"), [(1.2, True), (1.3, False)])
def test_a_rounded_file_is_held_to_max_batch_error_as_it_was(
    bundle, small_bundle, off_when_alone, verified, factor, ok
):
    change(small_bundle, bundle, 1, lambda file: off_when_alone(file, factor))
    found, rows = verified(bundle)
    assert found["ok"] is ok and rows[INT8, "max_batch_error"]["ok"] is ok
    assert (INT8, "max_error") not in rows
    assert found["artefacts"][1]["batch_1"]["relative_error_mean"] == pytest.approx(factor - 1, abs=0.1)


def test_drawn_images_are_shown_to_a_float_file_one_by_one_too(bundle, small_bundle, off_when_alone, verified):
    small_bundle.add_reference(bundle)
    for number in (0, 1):
        change(small_bundle, bundle, number, lambda file: off_when_alone(file, 1.05))
    _, rows = verified(bundle)
    assert rows[FLOAT, "max_reference_error"]["value"] == pytest.approx(0.05, abs=1e-5)
    assert not rows[FLOAT, "max_reference_error"]["ok"] and rows[INT8, "max_reference_error"]["ok"]
