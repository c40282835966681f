"""Products of int8 numbers: what the embedded file computes, and that a session with the option is exact on this processor."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefw.runtime import integer_products
from edgefw.runtime.integer_products import OPTION, exact_session, products_are_exact


def product(weights: np.ndarray) -> bytes:
    """ONNX of (1, n) uint8 by these int8 weights."""
    shapes = {"a": (TensorProto.UINT8, [1, len(weights)]), "y": (TensorProto.INT32, [1, weights.shape[1]])}
    given, gives = (helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items())
    node = helper.make_node("MatMulInteger", ["a", "w"], ["y"])
    graph = helper.make_graph([node], "sums", [given], [gives], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def test_the_embedded_file_is_the_product_that_it_says():
    model = onnx.load_from_string(integer_products._PRODUCT)
    onnx.checker.check_model(model)
    (weights,) = model.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weights), np.full((8, 8), 127, np.int8))
    assert model == onnx.load_from_string(product(np.full((8, 8), 127, np.int8)))


@pytest.mark.parametrize("length", [2, 8, 27, 64, 576])
def test_a_session_adds_exactly_here_whatever_this_processor_is(length):
    draw = np.random.default_rng(length)
    weights = draw.integers(90, 128, (length, 33), dtype=np.int8) * draw.choice([-1, 1], 33).astype(np.int8)
    values = draw.integers(200, 256, (1, length), dtype=np.uint8)
    session = exact_session(product(weights), onnxruntime.SessionOptions())
    expected = values.astype(np.int64) @ weights.astype(np.int64)
    np.testing.assert_array_equal(session.run(None, {"a": values})[0], expected)


@pytest.mark.parametrize("exact", [True, False])
def test_a_processor_that_is_exact_keeps_its_fast_kernels(monkeypatch, exact):
    monkeypatch.setattr(integer_products, "products_are_exact", lambda: exact)
    options = onnxruntime.SessionOptions()
    exact_session(product(np.full((8, 8), 100, np.int8)), options)
    if exact:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry(OPTION)
    else:
        assert options.get_session_config_entry(OPTION) == "1"


def test_a_damaged_file_fails_with_the_reason_of_onnxruntime(monkeypatch):
    monkeypatch.setattr(integer_products, "products_are_exact", lambda: False)
    with pytest.raises(Exception, match="protobuf parsing failed"):
        exact_session(b"no model", onnxruntime.SessionOptions())


def test_the_processor_is_asked_once():
    assert products_are_exact() is products_are_exact()
    assert products_are_exact.cache_info().misses == 1


def test_nothing_but_numpy_and_onnxruntime_is_imported():
    code = "import sys; from edgefw.runtime.integer_products import products_are_exact as p; p(); print('torch' in sys.modules, 'onnx' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        == ["False"] * 2
    )


def shared_weights() -> bytes:
    """ONNX of two rounded products with one int8 matrix, which ONNX Runtime cannot exchange for its exact kernels."""
    tensors = {"w": np.full((8, 8), 127, np.int8), "s": np.float32(0.1), "z": np.uint8(128), "wz": np.int8(0)}
    nodes, name = [], "x"
    for at in range(2):
        nodes.append(helper.make_node("QuantizeLinear", [name, "s", "z"], [f"q{at}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{at}", "s", "z"], [f"d{at}"]))
        nodes.append(helper.make_node("DequantizeLinear", ["w", "s", "wz"], [f"w{at}"]))
        nodes.append(helper.make_node("MatMul", [f"d{at}", f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("QuantizeLinear", [f"m{at}", "s", "z"], [f"o{at}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"o{at}", "s", "z"], [name := f"y{at}"]))
    given, gives = (helper.make_tensor_value_info(own, TensorProto.FLOAT, ["b", 8]) for own in ("x", name))
    stored = [numpy_helper.from_array(np.asarray(values), own) for own, values in tensors.items()]
    graph = helper.make_graph(nodes, "shared", [given], [gives], stored)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


def test_weights_that_two_layers_share_are_opened_without_a_word(monkeypatch, capfd):
    monkeypatch.setattr(integer_products, "products_are_exact", lambda: False)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = exact_session(shared_weights(), options)
    rows = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    assert session.run(None, {"x": rows})[0].shape == (2, 8)
    assert "onnxruntime" not in capfd.readouterr().err
