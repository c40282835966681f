"""Shared zero points are given to each reader, and nothing else of a file changes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefw.plugins.backends.onnx_constants import give_own_zero_points
from edgefw.runtime import integer_products
from edgefw.runtime.integer_products import exact_session


@pytest.fixture
def shared(tmp_path):
    """Two int8 matrix products after one another, whose weights share one zero point."""
    draw = np.random.default_rng(0)
    constants = {
        "w1": draw.integers(-127, 128, (8, 8), dtype=np.int8),
        "w2": draw.integers(-127, 128, (8, 8), dtype=np.int8),
        "zero": np.int8(0),
        "step": np.float32(0.01),
        "middle": np.uint8(128),
    }
    nodes = []
    for number, (given, gives) in enumerate([("image", "h"), ("h", "last")], 1):
        nodes += [
            helper.make_node("QuantizeLinear", [given, "step", "middle"], [f"q{number}"]),
            helper.make_node("DequantizeLinear", [f"q{number}", "step", "middle"], [f"d{number}"]),
            helper.make_node("DequantizeLinear", [f"w{number}", "step", "zero"], [f"dw{number}"]),
            helper.make_node("MatMul", [f"d{number}", f"dw{number}"], [gives]),
        ]
    nodes += [
        helper.make_node("QuantizeLinear", ["last", "step", "middle"], ["q3"]),
        helper.make_node("DequantizeLinear", ["q3", "step", "middle"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "shared",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    file = tmp_path / "shared.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file


def test_each_reader_gets_its_own_and_the_answers_stay(shared):
    before = onnx.load(shared)
    images = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    expected = onnxruntime.InferenceSession(str(shared), plain).run(None, {"image": images})[0]
    assert give_own_zero_points(shared) == 1
    after = onnx.load(shared)
    onnx.checker.check_model(after)
    readers = [name for node in after.graph.node for name in node.input if name.startswith("zero")]
    assert sorted(readers) == ["zero", "zero_of_1"]
    stored = {entry.name: numpy_helper.to_array(entry) for entry in after.graph.initializer}
    assert stored["zero"] == stored["zero_of_1"] == 0 and len(stored) == len(before.graph.initializer) + 1
    found = exact_session(str(shared), onnxruntime.SessionOptions()).run(None, {"image": images})[0]
    np.testing.assert_allclose(found, expected, atol=0.0101)  # a step: sums may lie on its edge


def test_a_file_without_shared_zero_points_is_not_written(shared):
    give_own_zero_points(shared)
    before = shared.stat().st_mtime_ns, shared.read_bytes()
    assert give_own_zero_points(shared) == 0
    assert (shared.stat().st_mtime_ns, shared.read_bytes()) == before


@pytest.mark.parametrize("exact", [True, False])
def test_a_file_that_shares_is_still_answered_exactly(shared, monkeypatch, exact):
    if exact and not integer_products.products_are_exact():
        pytest.skip("this processor is not exact by itself")
    monkeypatch.setattr(integer_products, "products_are_exact", lambda: exact)
    images = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    expected = onnxruntime.InferenceSession(str(shared), plain).run(None, {"image": images})[0]
    found = exact_session(str(shared), onnxruntime.SessionOptions()).run(None, {"image": images})[0]
    np.testing.assert_allclose(found, expected, atol=0.0101)
