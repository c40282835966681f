"""A bundle that carries reference answers: as it was written it passes, changed around its files it does not."""

import json

import numpy as np
import pytest

from edgefw.errors import BundleError
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.hashes import write_sums
from edgefw.runtime.label_pack import Label, LabelPack, read_pack, write_pack
from edgefw.runtime.reference import encoded
from edgefw.verifying.reference_check import ANSWER, INPUT, LABELS, own_reference, reference_rows


@pytest.fixture
def bundle(tmp_path, small_bundle):
    return small_bundle.add_reference(small_bundle.write_small_bundle(tmp_path / "bundle"))


def rows_of(folder):
    with open_bundle(folder) as opened:
        return {(row["artefact"], row["check"]): row for row in reference_rows(opened, own_reference(opened))}


def test_an_unchanged_bundle_answers_as_it_was_measured(bundle):
    rows = rows_of(bundle)
    assert set(rows) == {
        ("onnxruntime-fp32", ANSWER), ("onnxruntime-int8-static", ANSWER), ("preprocessing.rgb", INPUT),
        ("preprocessing.depth", INPUT), ("labels.json", LABELS)
    }  # fmt: skip
    assert all(row["ok"] for row in rows.values())
    assert rows["onnxruntime-fp32", ANSWER]["value"] < 1e-5


def step(name, **changes):
    def change(manifest):
        steps = manifest["modalities"]["rgb"]["preprocessing"]["steps"]
        next(own for own in steps if own["name"] == name).update(changes)

    return change


def swap(manifest):
    sensors = manifest["modalities"]
    sensors["rgb"], sensors["depth"] = sensors["depth"], sensors["rgb"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(step("normalise", mean=[0.5] * 3, std=[0.5] * 3), id="normalisation"),
        pytest.param(step("resize", filter="nearest", antialias=False), id="filter"),
        pytest.param(swap, id="sensors"),
    ],
)
def test_another_preprocessing_is_found_though_all_hashes_fit(bundle, small_bundle, change):
    rows = rows_of(small_bundle.change_manifest(bundle, change))
    assert not all(row["ok"] for (name, _), row in rows.items() if name == "onnxruntime-fp32")
    assert not any(row["ok"] for (name, _), row in rows.items() if name == "preprocessing.rgb")


def test_a_preprocessing_that_int8_would_round_away_is_found_by_what_the_student_is_given(bundle, small_bundle):
    """All answers of the files are left out: only the inputs are there to tell."""
    document = json.loads((bundle / "reference.json").read_text())
    (bundle / "reference.json").write_text(json.dumps(document | {"answers": {}, "student": {}, "probabilities": {}}))
    write_sums(bundle)
    right = rows_of(bundle)
    assert set(right) == {("preprocessing.rgb", INPUT), ("preprocessing.depth", INPUT)}
    assert all(row["value"] < 1e-6 for row in right.values())
    wrong = rows_of(small_bundle.change_manifest(bundle, step("resize", filter="bilinear")))
    assert not wrong["preprocessing.rgb", INPUT]["ok"] and wrong["preprocessing.depth", INPUT]["ok"]


def test_inputs_of_a_sensor_that_is_not_there_are_refused(bundle):
    document = json.loads((bundle / "reference.json").read_text())
    document["inputs"]["thermal"] = document["inputs"]["rgb"]
    (bundle / "reference.json").write_text(json.dumps(document))
    write_sums(bundle)
    with pytest.raises(BundleError, match="inputs of 'thermal'"):
        rows_of(bundle)


def test_a_preprocessing_that_cannot_be_run_is_a_row_with_the_reason(bundle, small_bundle):
    def narrow(manifest):
        steps = manifest["modalities"]["rgb"]["preprocessing"]["steps"]
        next(own for own in steps if own["name"] == "normalise").update(mean=[0.5] * 5, std=[0.5] * 5)

    row = rows_of(small_bundle.change_manifest(bundle, narrow))
    assert not any(one["ok"] for (name, _), one in row.items() if name == "preprocessing.rgb")


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_float_file_that_gave_no_answers_is_held_against_the_student(bundle, factor):
    with open_bundle(bundle) as opened:
        reference = own_reference(opened)
        student = {role: encoded(reference.rows(text) * factor) for role, text in reference.student.items()}
        first = reference.model_copy(update={"answers": {}, "student": student})
        rows = {row["artefact"]: row for row in reference_rows(opened, first) if row["check"] == ANSWER}
    assert set(rows) == {"onnxruntime-fp32"}  # rounding is judged by cosine, not by the student's answers
    assert rows["onnxruntime-fp32"]["ok"] is (factor == 1.0)


def test_names_beside_other_vectors_are_found(bundle):
    pack = read_pack(bundle / "labels.json")
    names = [*pack.names[1:], pack.names[0]]
    labels = [Label(name=name, vectors=own.vectors) for name, own in zip(names, pack.labels, strict=True)]
    write_pack(LabelPack(labels=labels, logit_scale=pack.logit_scale, encoder=pack.encoder), bundle / "labels.json")
    write_sums(bundle)
    assert rows_of(bundle)["labels.json", LABELS]["ok"] is False


def test_a_pack_of_another_encoder_is_a_row_with_the_reason(bundle):
    pack = read_pack(bundle / "labels.json")
    write_pack(LabelPack(labels=pack.labels, logit_scale=1.0, encoder="0" * 64), bundle / "labels.json")
    write_sums(bundle)
    row = rows_of(bundle)["labels.json", "runs"]
    assert not row["ok"]
    assert "made for encoder 000000000000" in row["why"]


def test_a_bundle_without_answers_has_none_to_compare_with(tmp_path, small_bundle):
    with open_bundle(small_bundle.write_small_bundle(tmp_path / "old")) as opened:
        assert own_reference(opened) is None


def test_a_relative_error_is_measured_as_by_hand(bundle, small_bundle):
    import onnx
    from onnx import numpy_helper

    with open_bundle(bundle) as opened:
        file = opened.file(opened.artefact("onnxruntime-fp32"))
    model = onnx.load(file)
    entry = next(own for own in model.graph.initializer if own.name == "mix")
    entry.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry) * np.float32(1.5), "mix"))
    onnx.save(model, file)
    from edgefw.runtime.hashes import sha256_of

    size = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    small_bundle.change_manifest(bundle, lambda manifest: manifest["artefacts"][0].update(size))
    row = rows_of(bundle)["onnxruntime-fp32", ANSWER]
    assert row["value"] == pytest.approx(0.5, rel=1e-5)
    assert not row["ok"]
