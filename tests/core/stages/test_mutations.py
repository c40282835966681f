"""The benchmark's faults on a small real run: the gate finds them with the default budgets, and names the wrong layer."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import onnx
import pytest

ROOT = Path(__file__).parents[3]
FP32, INT8 = "onnxruntime-fp32", "onnxruntime-int8-static"


@pytest.fixture
def bench(monkeypatch):
    """The benchmark's modules by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "backends"))
    return importlib.import_module


def faulty(bench, run, name, artefact=FP32, **places):
    """Change a file of a copy by a fault of the benchmark; gives the layer's name."""
    named = []

    def write(file):
        model = onnx.load(file)
        named.append(getattr(bench("graph_faults"), name)(model, **places))
        onnx.save(model, file)

    bench("run_copy").replace_file(run, artefact, write)
    return named[0]


def judged(bench, run, tmp_path, change):
    with bench("run_copy").changed_run(run, tmp_path / "copy", change) as copy:
        said = bench("run_copy").verdict(copy)
        return said, json.loads((copy / "verify/result.json").read_text())


def test_an_unchanged_float_file_passes_with_the_default_budgets(bench, run, tmp_path):
    said, result = judged(bench, run, tmp_path, lambda copy: None)
    assert [check for check in said["checks"] if "int8" not in check] == []
    assert not any(row["artefact"] == FP32 for row in result["blame"])


@pytest.mark.parametrize(
    "name",
    ["scaled_by_2", pytest.param("swapped_channels", marks=pytest.mark.slow), pytest.param("truncated_weights", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_wrong_layer_fails_the_gate_and_is_named(bench, run, tmp_path, name):
    layers = []
    said, result = judged(bench, run, tmp_path, lambda copy: layers.append(faulty(bench, copy, name)))
    assert f"{FP32}: max_error" in said["checks"]
    blamed = next(row for row in result["blame"] if row["artefact"] == FP32)
    assert blamed["first"]["layer"] == layers[0]


def test_an_int8_file_whose_embeddings_are_twice_too_long_fails_by_their_length_alone(bench, run, tmp_path):
    right = judged(bench, run, tmp_path, lambda copy: None)[0]
    said, result = judged(bench, run, tmp_path, lambda copy: faulty(bench, copy, "output_scaled_by_2", INT8))
    assert set(said["checks"]) - set(right["checks"]) == {f"{INT8}: max_length_error"}
    assert said["numbers"][INT8]["max_length_error"] == pytest.approx(1.0, abs=0.2)
    assert said["numbers"][INT8]["min_cosine"] == pytest.approx(right["numbers"][INT8]["min_cosine"], abs=1e-6)
    assert next(row for row in result["blame"] if row["artefact"] == INT8)["first"]["error"] > 0.5


def test_names_beside_other_vectors_fail_the_gate(bench, run, tmp_path):
    faults = bench("bundle_faults")

    def change(copy):
        faults.wrong_label_order(copy / "bundle", None)
        faults.resealed(copy / "bundle")

    assert "labels.json: max_label_error" in judged(bench, run, tmp_path, change)[0]["checks"]


def test_the_recorded_numbers_say_that_every_fault_is_found_and_no_right_file_is():
    document = json.loads((ROOT / "benchmarks/backends/mutations.json").read_text())
    assert len({row["mutation"] for row in document["rows"]}) >= 15
    assert all(row["edgefw"] for row in document["rows"])
    assert all(row["edgefw"] for row in document["unmutated"])
    for key in ("edgefw", "torch_onnx_verify", "dummy_input"):
        assert document["caught"][key] == sum(row[key] for row in document["rows"])


def test_the_benchmark_names_a_fault_that_passes_and_a_right_file_that_fails(bench):
    rows = [{"mutation": "one", "edgefw": True}, {"mutation": "other", "edgefw": False}]
    right = [{"artefact": FP32, "edgefw": True}, {"artefact": INT8, "edgefw": False}]
    wrongs = bench("mutations").wrongs
    assert wrongs(rows[:1], right[:1]) == []
    assert wrongs(rows, right) == ["other: passes", f"{INT8} as it is: fails"]
