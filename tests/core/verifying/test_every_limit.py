"""Every limit that a recipe can set is judged or named as not judged, by `verify RUN` and by `verify BUNDLE`."""

import json
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from edgefw import __version__
from edgefw.evaluation.budget import ALWAYS, LIMITS, not_judged
from edgefw.labels.folders import parse_data
from edgefw.recipe.schema import Verify
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.hashes import sha256_of
from edgefw.stages.verify_numbers import measured
from edgefw.verifying.bundle_check import verify_bundle

FIELDS = tuple(name for name in Verify.model_fields if name not in ("split", "samples"))
LOOSE = {name: 0.0 if name.startswith("min_") else 1e6 for name in FIELDS}
"""Keeps everything: what is asked is whether it was looked at."""


def pictures(folder, count):
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def verified(tmp_path, small_bundle):
    """`verified(change, count, labels=False)`: the small bundle, its manifest changed, with every limit set."""

    def check(change=lambda manifest: None, count=3, labels=False, **options):
        folder = small_bundle.write_small_bundle(tmp_path / "bundle", budget=LOOSE)
        small_bundle.change_manifest(folder, change)
        images = small_bundle.write_pictures(tmp_path / "labelled") if labels else pictures(tmp_path / "images", count)
        with open_bundle(folder) as opened:
            pack = opened.label_pack() if labels else None
            folders = parse_data([str(images)], opened.modalities, pack.names if pack else ())
            return verify_bundle(opened, folders, pack, threads=1, seconds=0.02, **options)

    return check


def test_a_limit_that_a_bundle_does_not_mention_is_named(verified):
    found = verified(lambda manifest: manifest["budget"].pop("max_drop"))
    assert "the bundle sets no limit for max_drop" in found["warnings"]
    assert "max_drop" not in {row["check"] for row in found["budget"]}


def test_of_a_bundle_with_every_limit_none_is_named_as_missing(verified):
    assert not any("sets no limit" in text for text in verified()["warnings"])


def told(warnings, name):
    """Limits that a warning says are not judged for an artefact."""
    said = [text.split(" not judged") for text in warnings if " not judged" in text]
    hit = [start for start, end in said if end.startswith(":") or name in end.split(":")[0]]
    return {field for field in FIELDS for start in hit if field in start}


def rounded(manifest):
    """No artefact is a float file to compare with, or says what it was made from."""
    manifest["artefacts"][0]["precision"] = "bf16"


@pytest.mark.parametrize(("count", "labels"), [(3, False), (1, False), (3, True)])
@pytest.mark.parametrize("change", [lambda manifest: None, rounded], ids=["float", "no-float"])
def test_a_bundle_judges_every_limit_or_says_that_it_does_not(verified, change, count, labels):
    found = verified(change, count, labels, memory=False)
    assert all(row["ok"] for row in found["budget"])
    judged = {(row["artefact"], row["check"]) for row in found["budget"]}
    looked_at = set()
    for artefact in found["artefacts"]:
        own = {check for name, check in judged if name == artefact["name"]} | told(found["warnings"], artefact["name"])
        looked_at |= own
        assert own >= {"max_drop", "min_cosine", "min_agreement", "max_batch_error"}
    exact = {row["name"] for row in found["artefacts"] if row["precision"] == "fp32"}
    assert looked_at >= set(FIELDS) - (set() if exact else {"max_error"})


@pytest.mark.parametrize(("precision", "other"), [("fp32", "max_length_error"), ("int8-static", "max_error")])
def test_a_record_without_numbers_leaves_no_limit_unsaid(precision, other):
    """Of `verify RUN`: an artefact of which nothing could be measured. `other` is the limit of other precisions."""
    keys = "cosine_mean top1_agreement slowdown relative_error_max length_error batch_relative_error batch_1 drop int8_share memory_mib"
    own = {
        "name": "a",
        "precision": precision,
        "source": "b",
        "serves": ["rgb"],
        "bytes": 1,
        "latency_ms_p50": 1.0,
        "modalities": {},
    }
    blind = measured({**dict.fromkeys(keys.split()), **own, "memory_why": "the system does not tell"}, 0)
    others, memory = not_judged([blind], LOOSE)
    assert others.endswith(" are not judged: no held-out sample has rgb")
    assert memory == "max_memory_mib is not judged: the system does not tell"
    said = memory + others
    assert {check for check, value in blind.values.items() if value is not None or check in said} == set(LIMITS) - {
        other
    }
    assert set(LIMITS) == {*FIELDS, *ALWAYS}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told by Linux alone")
@pytest.mark.parametrize(("limit", "ok"), [(0.5, False), (1e4, True)])
def test_a_bundle_carries_its_limit_on_memory(verified, limit, ok):
    found = verified(lambda manifest: manifest.update(budget={"max_memory_mib": limit}), count=1)
    (row,) = [row for row in found["budget"] if row["check"] == "max_memory_mib"]
    int8 = found["artefacts"][1]
    assert (row["artefact"], row["value"], row["ok"]) == (int8["name"], int8["memory_mib"], ok)
    assert 0.5 < int8["memory_mib"] < 200


def test_a_limit_of_a_newer_edgefw_is_named(verified):
    found = verified(lambda manifest: manifest["budget"].update(max_novelty=1.0), memory=False)
    (told,) = [text for text in found["warnings"] if "max_novelty" in text]
    assert told == f"max_novelty is not judged: this edgefw ({__version__}) does not know it"


def test_a_file_that_no_folder_was_given_for_is_named(verified):
    found = verified(lambda manifest: manifest["artefacts"][1].update(modalities=["depth"]), memory=False)
    assert [row["name"] for row in found["artefacts"]] == ["onnxruntime-fp32"]
    assert "onnxruntime-int8-static is not measured: give --data depth=DIR too" in found["warnings"]


def test_a_file_with_its_preprocessing_inside_and_of_unknown_origin_is_named(tmp_path, small_bundle):
    folder = small_bundle.write_small_bundle(tmp_path / "b")

    def change(manifest):
        entry = manifest["artefacts"][0]
        file = folder / "folded" / "inside" / "model.onnx"
        file.parent.mkdir(parents=True)
        file.write_bytes((folder / entry["file"]).read_bytes())
        place = {"name": "inside", "file": "folded/inside/model.onnx", "modalities": ["rgb"]}
        manifest["folded"] = [{**entry, **place, "inputs": {"picture": [0, 0, 3]}}]

    small_bundle.change_manifest(folder, change)
    with open_bundle(folder) as opened:
        folders = parse_data([str(pictures(tmp_path / "images", 2))], opened.modalities, ())
        found = verify_bundle(opened, folders, None, threads=1, seconds=0.02, memory=False)
    assert "inside is not judged: the bundle does not say which artefact it was made from" in found["warnings"]


def scaled(file, factor):
    model = onnx.load(file)
    entry = next(own for own in model.graph.initializer if own.name == "mix")
    entry.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry) * np.float32(factor), "mix"))
    onnx.save(model, file)
    return {"sha256": sha256_of(file), "bytes": file.stat().st_size}


@pytest.mark.parametrize(("factor", "ok"), [(1.0, True), (1.25, False)])
def test_an_fp32_file_is_held_against_the_first_one_whatever_its_backend(tmp_path, small_bundle, factor, ok):
    """The int8 file's place is taken by a second fp32 file. A cosine does not see the factor, the error does."""
    folder = small_bundle.write_small_bundle(tmp_path / "b", budget={"max_error": 0.01, "min_cosine": 0.99})
    source, replaced = (folder / row["file"] for row in json.loads((folder / "manifest.json").read_text())["artefacts"])
    replaced.write_bytes(source.read_bytes())
    facts = scaled(replaced, factor)
    small_bundle.change_manifest(
        folder,
        lambda manifest: manifest["artefacts"][1].update(facts, name="onnxruntime-int8-static", precision="fp32"),
    )
    with open_bundle(folder) as opened:
        folders = parse_data([str(pictures(tmp_path / "images", 4))], opened.modalities, ())
        found = verify_bundle(opened, folders, None, threads=1, seconds=0.02, memory=False)
    rows = {(row["artefact"], row["check"]): row for row in found["budget"]}
    row = rows["onnxruntime-int8-static", "max_error"]
    assert row["value"] == pytest.approx(factor - 1.0, abs=1e-6)
    assert row["ok"] is ok and found["ok"] is ok
    assert rows["onnxruntime-int8-static", "min_cosine"]["ok"]
    assert found["artefacts"][1]["reference"] == "onnxruntime-fp32"
    assert ("onnxruntime-fp32", "max_error") not in rows
    assert [text for text in found["warnings"] if "not judged" in text] == [
        "min_cosine and max_error are not judged for onnxruntime-fp32: the bundle holds no student to compare it with"
    ]


@pytest.mark.parametrize(("limit", "ok"), [(0.1, False), (1.5, True), (None, None)])
def test_a_rounded_file_that_is_off_by_a_factor_fails_by_its_length(tmp_path, small_bundle, limit, ok):
    """Its cosine does not see the factor. A bundle whose budget lacks the limit, an older one, is not held to it."""
    budget = {"min_cosine": 0.99, "max_error": 0.01, **({} if limit is None else {"max_length_error": limit})}
    folder = small_bundle.write_small_bundle(tmp_path / "b", budget=budget)
    source, replaced = (folder / row["file"] for row in json.loads((folder / "manifest.json").read_text())["artefacts"])
    replaced.write_bytes(source.read_bytes())
    facts = scaled(replaced, 2.0)
    small_bundle.change_manifest(folder, lambda manifest: manifest["artefacts"][1].update(facts))
    with open_bundle(folder) as opened:
        folders = parse_data([str(pictures(tmp_path / "images", 4))], opened.modalities, ())
        found = verify_bundle(opened, folders, None, threads=1, seconds=0.02, memory=False)
    rows = {(row["artefact"], row["check"]): row for row in found["budget"]}
    name = "onnxruntime-int8-static"
    assert rows[name, "min_cosine"]["ok"] and ("onnxruntime-fp32", "max_length_error") not in rows
    assert found["artefacts"][1]["length_error"] == pytest.approx(1.0, abs=1e-6)
    assert found["artefacts"][1]["batch_1"]["length_error"] == pytest.approx(1.0, abs=1e-6)
    if limit is None:
        assert (name, "max_length_error") not in rows and found["ok"] is True
    else:
        assert rows[name, "max_length_error"]["value"] == pytest.approx(1.0, abs=1e-6)
        assert rows[name, "max_length_error"]["ok"] is ok and found["ok"] is ok


def test_the_length_of_a_first_file_that_rounds_is_named_as_not_judged(verified):
    found = verified(rounded, memory=False)
    assert not any(
        row["check"] == "max_length_error" and row["artefact"] == "onnxruntime-fp32" for row in found["budget"]
    )
    assert "max_length_error" in told(found["warnings"], "onnxruntime-fp32")
