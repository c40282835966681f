"""Biases of int8 matrix products become whole numbers where they lie on the products' grid, and nowhere else."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefw.plugins.backends.onnx_biases import round_biases
from edgefw.plugins.backends.onnx_work import int8_share
from edgefw.runtime.integer_products import exact_session

INPUT_STEP = np.float32(0.02)
STEPS = np.linspace(0.01, 0.03, 5, dtype=np.float32)
WHOLE = np.array([-90, 3, 0, 1 << 20, 71], np.int32)
BIAS = (WHOLE * (INPUT_STEP * STEPS)).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    """`write(bias, steps, trans, **attributes)`: (B, 8) rounded, times int8 weights (8, 5), plus a bias; a float result."""

    def gemm(bias=BIAS, steps=STEPS, trans=0, axis=None, **attributes):
        weight = np.random.default_rng(0).integers(-127, 128, (8, 5), dtype=np.int8)
        weight = weight.T.copy() if trans else weight
        axis = (0 if trans else 1) if axis is None else axis
        stored = {"step": INPUT_STEP, "middle": np.uint8(128), "w": weight, "steps": steps, "b": bias}
        stored["zeros"] = np.zeros(np.shape(steps), np.int8)
        nodes = [
            helper.make_node("QuantizeLinear", ["image", "step", "middle"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "step", "middle"], ["d"]),
            helper.make_node("DequantizeLinear", ["w", "steps", "zeros"], ["dw"], axis=axis),
            helper.make_node("Gemm", ["d", "dw", "b"], ["embedding"], name="head", transB=trans, **attributes),
        ]
        graph = helper.make_graph(
            nodes,
            "gemm",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 8])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 5])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
        )
        file = tmp_path / "gemm.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
        return file

    return gemm


def answers(file, images):
    """What the operators themselves give, and what ONNX Runtime's kernels do; and which those are."""
    plain, fast = onnxruntime.SessionOptions(), onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    fast.optimized_model_filepath, fast.log_severity_level = str(file.with_suffix(".optimised")), 3
    first = onnxruntime.InferenceSession(str(file), plain).run(None, {"image": images})[0]
    second = exact_session(str(file), fast).run(None, {"image": images})[0]
    return first, second, [node.op_type for node in onnx.load(file.with_suffix(".optimised")).graph.node]


@pytest.mark.parametrize(("steps", "trans"), [(STEPS, 0), (STEPS, 1), (np.float32(0.015), 0)])
def test_a_bias_on_the_grid_of_the_products_is_stored_whole_and_the_kernel_is_int8(write, steps, trans):
    file = write(bias=(WHOLE * (INPUT_STEP * steps)).astype(np.float32), steps=steps, trans=trans)
    images = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)
    expected, _, before = answers(file, images)
    assert int8_share(file) == 0 and "Gemm" in before
    assert round_biases(file) == 1
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    stored = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    assert "b" not in stored
    np.testing.assert_array_equal(stored["embedding_bias_whole"], WHOLE)
    plain, fast, after = answers(file, images)
    assert int8_share(file) == 1 and "QGemm" in after and "Gemm" not in after
    for found in (plain, fast):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)
    assert round_biases(file) == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"bias": BIAS + np.float32(0.3) * INPUT_STEP * STEPS}, id="off the grid"),
        pytest.param({"bias": np.full(5, 1e7, np.float32)}, id="too large"),
        pytest.param({"alpha": 2.0}, id="scaled products"),
        pytest.param({"beta": 0.5}, id="scaled bias"),
        pytest.param({"bias": BIAS[None]}, id="a row"),
        pytest.param({"steps": np.full(8, 0.01, np.float32), "axis": 0}, id="steps along the input"),
    ],
)
def test_any_other_bias_stays_as_it_is(write, change):
    file = write(**change)
    before = file.read_bytes()
    assert round_biases(file) == 0
    assert file.read_bytes() == before
