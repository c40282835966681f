"""`verify BUNDLE` and `bench` where a runtime that is here refuses a file: it is named, the others are judged and measured."""

import json

import pytest

from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.hashes import sha256_of
from edgefw.runtime.opening import Opener

FLOAT, INT8 = "onnxruntime-fp32", "onnxruntime-int8-static"


def foreign(small_bundle, bundle, *names):
    """Make files that onnxruntime refuses to open, with hashes that fit."""
    for name in names:
        file = bundle / f"artefacts/{name}/model.onnx"
        file.write_bytes(b"a plan for another GPU")
        stated = {"sha256": sha256_of(file), "bytes": file.stat().st_size}

        def change(manifest, name=name, stated=stated):
            next(row for row in manifest["artefacts"] if row["name"] == name).update(stated)

        small_bundle.change_manifest(bundle, change)
    return bundle


@pytest.fixture
def bundle(tmp_path, small_bundle):
    return small_bundle.add_reference(small_bundle.write_small_bundle(tmp_path / "bundle"))


@pytest.fixture
def pictures(tmp_path, small_bundle):
    return small_bundle.write_pictures(tmp_path / "pictures")


def test_verify_has_a_check_that_does_not_hold_and_judges_the_other(edgefw, bundle, small_bundle, pictures):
    foreign(small_bundle, bundle, INT8)
    code, out, err = edgefw("verify", bundle, "--data", pictures)
    assert code == 1
    assert f"FAIL {INT8}: " in out and f"ok   {FLOAT}: max_not_finite 0" in out
    assert f"The budget was not met:\n  {INT8}: does not run: " in err and "onnxruntime cannot load it" in err
    document = json.loads(edgefw("verify", bundle, "--data", pictures, "--json")[1])
    rows = [row for row in document["budget"] if row["artefact"] == INT8]
    assert [(row["check"], row["ok"]) for row in rows] == [("runs", False)]
    assert document["ok"] is False and document["unjudged"] == []
    assert [row["name"] for row in document["artefacts"]] == [FLOAT] and document["best"] == FLOAT


def test_what_only_a_file_that_does_not_open_could_be_compared_with_is_not_judged(
    edgefw, bundle, small_bundle, pictures
):
    foreign(small_bundle, bundle, FLOAT)
    code, _, err = edgefw("verify", bundle, "--data", pictures)
    assert code == 1
    why = f"there is nothing to hold it against: its float file {FLOAT} does not run"
    assert f"Not everything was judged:\n  {INT8}: {why}" in err


def test_where_no_file_opens_each_is_a_row_of_the_verdict(edgefw, bundle, small_bundle, pictures):
    foreign(small_bundle, bundle, FLOAT, INT8)
    code, out, err = edgefw("verify", bundle, "--data", pictures)
    assert code == 1 and "best on this machine: none" in out and "Traceback" not in err
    assert err.count("does not run") == 2


def test_a_file_that_is_left_out_on_purpose_is_not_opened(edgefw, bundle, small_bundle, pictures):
    foreign(small_bundle, bundle, INT8)
    code, out, _ = edgefw("verify", bundle, "--data", pictures, "--without", INT8)
    assert code == 0 and f"{INT8}:" not in out


def test_bench_measures_the_other_and_says_why_not_this_one(edgefw, bundle, small_bundle):
    foreign(small_bundle, bundle, INT8)
    code, out, _ = edgefw("bench", bundle, "--seconds", "0.1", "--no-memory")
    last = out.splitlines()[-1]
    assert code == 0 and last.startswith(INT8) and "not measured: " in last and "onnxruntime cannot load it" in last
    rows = json.loads(edgefw("bench", bundle, "--seconds", "0.1", "--no-memory", "--json")[1])["artefacts"]
    assert [(row["name"], row["why"] is None) for row in rows] == [(FLOAT, True), (INT8, False)]
    assert rows[0]["latency_ms_p50"] > 0 and rows[1]["latency_ms_p50"] is None


def test_bench_of_a_bundle_without_a_file_that_opens_is_an_error(edgefw, bundle, small_bundle):
    foreign(small_bundle, bundle, FLOAT, INT8)
    code, _, err = edgefw("bench", bundle)
    assert code == 2 and "no artefact can be opened here" in err and err.count("onnxruntime cannot load it") == 2


def test_what_the_runtime_refuses_and_what_has_no_runtime_are_told_apart(bundle, small_bundle):
    foreign(small_bundle, bundle, INT8)
    small_bundle.change_manifest(bundle, lambda manifest: manifest["artefacts"][0].update(backend="nowhere"))
    with open_bundle(bundle) as opened:
        found = Opener(opened).runners(1)
    assert found.runners == {} and list(found.missing) == [FLOAT] and list(found.refused) == [INT8]
