"""Clamps in front of a rounding: values by hand, and what ONNX Runtime makes of them when it opens a file."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefw.plugins.backends.onnx_clamps import is_idle, kept
from edgefw.plugins.backends.onnx_work import work

RELU = helper.make_node("Relu", ["wide"], ["narrow"])
ROUNDING = helper.make_node("QuantizeLinear", ["narrow", "step", "zero"], ["whole"])


def constants(**values):
    return {name: numpy_helper.from_array(np.asarray(own), name) for name, own in values.items()}


def grid(step, zero, element=np.uint8, **more):
    return constants(step=np.float32(step), zero=element(zero), **{name: np.float32(own) for name, own in more.items()})


@pytest.mark.parametrize(
    ("zero", "element", "steps"),
    [(0, np.uint8, (0, 255)), (100, np.uint8, (-100, 155)), (0, np.int8, (-128, 127)), (-128, np.int8, (0, 255))],
)
def test_what_is_kept_by_hand(zero, element, steps):
    assert kept(ROUNDING, grid(0.5, zero, element)) == (0.5 * steps[0], 0.5 * steps[1])


def test_everything_may_be_kept_where_the_grid_is_computed():
    assert kept(ROUNDING, {}) == (-np.inf, np.inf)
    without_zero = helper.make_node("QuantizeLinear", ["narrow", "step"], ["whole"])
    assert kept(without_zero, grid(0.5, 0)) == (-np.inf, np.inf)


CASES = [
    (RELU, grid(0.5, 0), True),
    (RELU, grid(0.5, 1), False),
    (RELU, grid(0.5, 0, np.int8), False),
    (("low", "high"), grid(6 / 255, 0, low=0, high=6), True),
    (("low", "high"), grid(6 / 254, 0, low=0, high=6), False),  # rounding would keep 6.02
    (("low", "high"), grid(6 / 255, 0, low=1, high=6), False),  # and 0
    (("", "high"), grid(6 / 255, 100, high=6), True),
    (("low",), grid(6 / 255, 0, low=0), True),
    (("low", "high"), grid(6 / 255, 128, low=-3.1, high=3.1), True),
]


def node(clamp):
    return clamp if isinstance(clamp, onnx.NodeProto) else helper.make_node("Clip", ["wide", *clamp], ["narrow"])


@pytest.mark.parametrize(("clamp", "stored", "idle"), CASES)
def test_a_clamp_is_idle_where_rounding_cuts_off_as_much(clamp, stored, idle):
    assert is_idle(node(clamp), ROUNDING, stored) == idle


def test_a_clamp_whose_bound_is_computed_is_not_idle():
    assert not is_idle(node(("low", "high")), ROUNDING, grid(6 / 255, 0, low=0))


def layer_before(clamp, stored, opset):
    """An int8 convolution of ones, a clamp, a rounding."""
    info = helper.make_tensor_value_info
    more = constants(one=np.float32(1), none=np.uint8(0), w=np.ones((1, 1, 1, 1), np.int8), even=np.int8(0))
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "one", "none"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "none"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "one", "even"], ["v"]),
        helper.make_node("Conv", ["d", "v"], ["wide"]),
        node(clamp),
        ROUNDING,
        helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["back"]),
    ]
    ends = [[info(name, TensorProto.FLOAT, ["b", 1, 8, 8])] for name in ("image", "back")]
    graph = helper.make_graph(nodes, "g", *ends, [*stored.values(), *more.values()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize("opset", [18, 19, 20])
@pytest.mark.parametrize(("clamp", "stored", "idle"), CASES)
def test_a_layer_runs_in_int8_where_its_clamp_is_idle_and_nowhere_else(tmp_path, clamp, stored, idle, opset):
    model = layer_before(clamp, stored, opset)
    assert [own.is_int8 for own in work(model)] == [idle]
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 3, str(tmp_path / "opened.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    left = {own.op_type for own in onnx.load(tmp_path / "opened.onnx").graph.node}
    assert ("QLinearConv" in left) == idle
    values = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)  # whole numbers from 0 on
    limits = {name: float(numpy_helper.to_array(stored[name])) for name in ("low", "high") if name in stored}
    clamped = values.clip(limits.get("low", 0.0), limits.get("high", np.inf))
    expected, step = clamped.clip(*kept(ROUNDING, stored)), float(numpy_helper.to_array(stored["step"]))
    np.testing.assert_allclose(session.run(None, {"image": values})[0], expected, atol=0.51 * step)
