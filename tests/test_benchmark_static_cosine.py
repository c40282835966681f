"""The cosines of int8-static: rows are measured on a small graph, and the table is that of the committed file."""

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "backends"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for folder in (FOLDER.parent / "clip4retrofit", FOLDER.parent, FOLDER):
        monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module("static_cosine")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A convolution far wider than the ReLU6 behind it, one channel most of all, and the mean: (B, 3, 16, 16) to (B, 64)."""
    draw = np.random.default_rng(0)
    stored = {"w": 9 * draw.normal(size=(64, 3, 3, 3)).astype(np.float32), "low": np.float32(0), "high": np.float32(6)}
    stored["w"][0] *= 10
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["wide"], "conv"),
        helper.make_node("Clip", ["wide", "low", "high"], ["narrow"], "clip"),
        helper.make_node("ReduceMean", ["narrow", "axes"], ["embedding"], "pool", keepdims=0),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("image", ["b", 3, 16, 16]), ("embedding", ["b", 64]))
    ]
    weights = [
        numpy_helper.from_array(np.asarray(own), name) for name, own in {**stored, "axes": np.array([2, 3])}.items()
    ]
    graph = helper.make_graph(nodes, "g", *ends, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_the_default_is_closer_than_the_range_before_the_clamp(benchmark: ModuleType, tiny: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(12, 3, 16, 16)).astype(np.float32)
    wanted = benchmark.answers(tiny, rows)
    library, ours = (benchmark.measured(row, tiny, rows, rows, wanted) for row in (benchmark.LIBRARY, "default"))
    assert 1 - ours["cosine_mean"] < (1 - library["cosine_mean"]) / 4
    found = benchmark.widths(tiny, rows)
    assert found["layers"] == 1 and found["median"] == found["largest"] > 10


def test_the_table_is_that_of_the_file() -> None:
    sides = json.loads((FOLDER / "static_cosine.json").read_text(encoding="utf-8"))["sides"]
    text = (FOLDER / "README.md").read_text(encoding="utf-8").partition("# How close does int8-static stay")[2]
    table = dict(re.findall(r"^\| ([^|]+?) \| (.+?) \|$", text, re.MULTILINE))
    measured = {row for cell in sides.values() for row in cell["rows"]}
    assert measured <= table.keys()
    for row in measured:
        numbers = [sides[side]["rows"].get(row) for side in ("64", "224")]
        shown = [f"{own[key]:.3f}" if own else "-" for own in numbers for key in ("cosine_mean", "cosine_min")]
        assert table[row].split(" | ") == shown, row
