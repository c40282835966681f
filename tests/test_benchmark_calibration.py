"""The memory benchmark: what a cell holds, a process that grows too far, and which cells it measures."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "backends"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("calibration_memory")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """One convolution: (B, 3, 16, 16) to (B, 4, 16, 16)."""
    weight = np.random.default_rng(0).normal(size=(64, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["image", "w"], ["embedding"], "conv", pads=[1, 1, 1, 1])
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", channels, 16, 16])]
        for name, channels in (("image", 3), ("embedding", 64))
    ]
    graph = helper.make_graph([node], "g", *ends, [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_images_come_in_small_batches_and_are_counted(benchmark: ModuleType) -> None:
    assert [len(batch["image"]) for batch in benchmark.images(19, 4)] == [8, 8, 3]


def test_small_cells_are_measured_first_and_the_float_model_before_all(benchmark: ModuleType) -> None:
    found = benchmark.cells(["minmax", "entropy"], [32, 512])
    assert [who for who, _, _ in found[:3]] == ["float", "float without torch", "edgefw without torch"]
    assert [samples for _, _, samples in found[3:]] == [32] * 4 + [512] * 4


def test_summary_subtracts_the_models_own_peak(benchmark: ModuleType) -> None:
    peaks = {
        "float - 32": 200.0,
        "edgefw minmax 32": 350.5,
        "float without torch - 32": 60.0,
        "edgefw without torch minmax 32": 100.0,
    }
    cells = {**{name: {"peak_mb": peak} for name, peak in peaks.items()}, "x": {"stopped_over_mb": 4000}}
    found = benchmark.summary({"cells": cells}, 224, 4000)["cells"]
    assert found["edgefw minmax 32"]["above_the_model_mb"] == 150.5
    assert found["edgefw without torch minmax 32"]["above_the_model_mb"] == 40.0
    assert "above_the_model_mb" not in found["x"]


def test_verdict_judges_edgefw_and_names_what_is_over(benchmark: ModuleType) -> None:
    wanted = [("float", "-", 32), ("edgefw", "minmax", 32), ("edgefw", "entropy", 32), ("onnxruntime", "minmax", 32)]
    peaks = {"float - 32": 200.0, "edgefw minmax 32": 350.0, "edgefw entropy 32": 500.0, "onnxruntime minmax 32": 900.0}
    found = benchmark.summary({"cells": {name: {"peak_mb": peak} for name, peak in peaks.items()}}, 224, 4000)["cells"]
    assert benchmark.verdict(found, wanted) == ("2 of 2 of edgefw within 300 MB, at most 300", True)
    found = benchmark.summary({"cells": found | {"edgefw entropy 32": {"stopped_over_mb": 4000}}}, 224, 4000)["cells"]
    text, kept = benchmark.verdict(found, wanted)
    assert (kept, text.endswith("over it: edgefw entropy 32")) == (False, True)
    found = benchmark.summary({"cells": found | {"edgefw entropy 32": {"peak_mb": 500.1}}}, 224, 4000)["cells"]
    assert not benchmark.verdict(found, wanted)[1]


@pytest.mark.slow
@pytest.mark.parametrize("who", ["edgefw", "onnxruntime"])
def test_cell_is_a_process_with_a_peak(benchmark: ModuleType, tiny: Path, who: str) -> None:
    found = benchmark.measure(tiny, who, "percentile", 6, 4000)
    assert 50 < found["peak_mb"] < 2000


@pytest.mark.slow
def test_torch_can_be_hidden(benchmark: ModuleType, tiny: Path) -> None:
    with_torch, without = (
        benchmark.measure(tiny, f"float{tail}", "-", 6, 4000)["peak_mb"] for tail in ("", benchmark.HIDDEN)
    )
    assert without < with_torch - 100


@pytest.mark.slow
def test_process_that_grows_too_far_is_stopped(benchmark: ModuleType, tiny: Path) -> None:
    assert benchmark.measure(tiny, "edgefw", "minmax", 6, 30)["stopped_over_mb"] == 30
