"""bench and verify where the runtime of one artefact is missing, or one file fails: the others are measured and judged."""

import json

import onnx
import pytest

from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.hashes import sha256_of

BACKEND = '''"""A backend for tests."""
import edgefw

def build(config, context):
    return object()

@edgefw.hookimpl
def edgefw_register_backends(register):
    register(edgefw.Technique(name="sonar-chip", config=edgefw.NoOptions, build=build,
                              requires=("sonar_chip_sdk",), install="pip install sonar-chip-sdk"))
'''
FLOAT, INT8 = 0, 1


@pytest.fixture
def pictures(tmp_path, small_bundle):
    return small_bundle.write_pictures(tmp_path / "pictures")


@pytest.fixture
def bundle(tmp_path, small_bundle, site):
    site.install("sonar-chip", {"edgefw.backends": {"sonar-chip": "sonar_chip"}}, {"sonar_chip.py": BACKEND})
    return small_bundle.write_small_bundle(tmp_path / "bundle")


def on_sonar_chip(small_bundle, bundle, *numbers):
    def change(manifest):
        for number in numbers:
            manifest["artefacts"][number].update(backend="sonar-chip", options={})

    return small_bundle.change_manifest(bundle, change)


def test_bench_measures_what_it_can_and_says_why_not_the_rest(edgefw, bundle, small_bundle):
    on_sonar_chip(small_bundle, bundle, INT8)
    code, out, _ = edgefw("bench", bundle, "--seconds", "0.1", "--no-memory")
    assert code == 0
    last = out.splitlines()[-1]
    assert last.startswith("onnxruntime-int8-static")
    assert "not measured: " in last
    assert last.endswith("needs sonar_chip_sdk. Run: pip install sonar-chip-sdk")
    rows = json.loads(edgefw("bench", bundle, "--seconds", "0.1", "--no-memory", "--json")[1])["artefacts"]
    assert [row["name"] for row in rows] == ["onnxruntime-fp32", "onnxruntime-int8-static"]
    assert rows[0]["latency_ms_p50"] > 0
    assert rows[0]["why"] is None
    assert rows[1]["latency_ms_p50"] is None
    assert "sonar_chip_sdk" in rows[1]["why"]


def test_bench_of_a_bundle_that_nothing_here_opens_is_an_error(edgefw, bundle, small_bundle):
    on_sonar_chip(small_bundle, bundle, FLOAT, INT8)
    code, _, err = edgefw("bench", bundle)
    assert code == 2
    assert "no artefact can be opened here" in err
    assert err.count("pip install sonar-chip-sdk") == 2


def test_verify_judges_the_others_and_exits_with_1(edgefw, bundle, small_bundle, pictures):
    on_sonar_chip(small_bundle, bundle, INT8)
    code, out, err = edgefw("verify", bundle, "--data", pictures)
    assert code == 1
    assert "ok   onnxruntime-fp32: max_not_finite 0" in out
    assert "not judged: " in out
    assert "Not everything was judged:\n  onnxruntime-int8-static: " in err
    assert "budget was not met" not in err
    document = json.loads(edgefw("verify", bundle, "--data", pictures, "--json")[1])
    assert document["ok"] is False
    assert [row["name"] for row in document["artefacts"]] == ["onnxruntime-fp32"]
    assert [(row["name"], row["backend"], row["precision"]) for row in document["unjudged"]] == [
        ("onnxruntime-int8-static", "sonar-chip", "int8-static")
    ]


def test_an_artefact_that_is_left_out_on_purpose_is_not_waited_for(edgefw, bundle, small_bundle, pictures):
    on_sonar_chip(small_bundle, bundle, INT8)
    code, out, _ = edgefw("verify", bundle, "--data", pictures, "--without", "onnxruntime-int8-static", "--json")
    assert code == 0
    assert json.loads(out)["unjudged"] == []
    code, _, err = edgefw("verify", bundle, "--data", pictures, "--without", "sonar")
    assert code == 2
    assert "no artefact 'sonar'. It has: onnxruntime-fp32, onnxruntime-int8-static" in err


def test_an_int8_file_is_not_judged_against_itself_where_its_float_file_is_missing(
    edgefw, bundle, small_bundle, pictures
):
    on_sonar_chip(small_bundle, bundle, FLOAT)
    code, _, err = edgefw("verify", bundle, "--data", pictures)
    assert code == 2
    assert "no artefact can be judged here" in err
    assert "onnxruntime-int8-static: there is nothing to hold it against: its float file onnxruntime-fp32" in err


def test_a_technique_that_is_not_installed_at_all_is_a_missing_runtime(edgefw, bundle, small_bundle, pictures):
    small_bundle.change_manifest(bundle, lambda manifest: manifest["artefacts"][INT8].update(backend="nowhere"))
    code, _, err = edgefw("verify", bundle, "--data", pictures)
    assert code == 1
    assert "Not everything was judged" in err
    assert "nowhere" in err


def test_a_file_that_takes_one_image_only_fails_and_the_other_is_judged(edgefw, bundle, small_bundle, pictures):
    with open_bundle(bundle) as opened:
        file = opened.file(opened.artefact("onnxruntime-int8-static"))
    model = onnx.load(file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, file)
    stated = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    small_bundle.change_manifest(bundle, lambda manifest: manifest["artefacts"][INT8].update(stated))
    code, out, err = edgefw("verify", bundle, "--data", pictures)
    assert code == 1
    assert "FAIL onnxruntime-int8-static: fails on a batch of 16" in out
    assert "ok   onnxruntime-fp32" in out
    assert "onnxruntime-int8-static: does not run: fails on a batch of 16" in err
