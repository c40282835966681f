"""Relu and Clip behind rounded layers: where they are rounded, on which grid, and that nobody loses one."""

import importlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from edgefw.plugins.backends.onnx_layers import layer_outputs
from edgefw.plugins.backends.onnx_work import int8_share
from edgefw.plugins.quantizers.clamps import clamped, round_behind, shared
from edgefw.plugins.quantizers.float_again import parts, without
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.plugins.quantizers.onnx_graph import preprocessed, quiet
from edgefw.plugins.quantizers.static_writer import StaticWriter
from edgefw.runtime.departure import ROUNDED_LIMIT, departures, first

ROOT = Path(__file__).parents[3]
DRAW = np.random.default_rng(0)
STORED = {
    "w": (DRAW.normal(size=(64, 3, 1, 1)) * 20).astype(np.float32),
    "v": DRAW.normal(size=(64, 64, 1, 1)).astype(np.float32),
    "zero": np.float32(0), "one": np.float32(1), "minus": np.float32(-1), "three": np.float32(3),
    "six": np.float32(6), "sixth": np.float32(1 / 6),
}  # fmt: skip

RELU = [helper.make_node("Relu", ["wide"], ["narrow"], "clamp")]
HARDSWISH = [helper.make_node("HardSwish", ["wide"], ["narrow"], "curve")]
SILU = [
    helper.make_node("Sigmoid", ["wide"], ["gate"], "sigmoid"),
    helper.make_node("Mul", ["wide", "gate"], ["narrow"], "curve"),
]
BY_HAND = [
    helper.make_node("Add", ["wide", "three"], ["shifted"], "shift"),
    helper.make_node("Clip", ["shifted", "zero", "six"], ["gate"], "clamp"),
    helper.make_node("Mul", ["wide", "gate"], ["six times"], "product"),
    helper.make_node("Mul", ["six times", "sixth"], ["narrow"], "curve"),
]
"""Hardswish as PyTorch writes it below opset 14: its Clip stands behind a sum, not behind the layer."""


def clip(low, high):
    return [helper.make_node("Clip", ["wide", low, high], ["narrow"], "clamp")]


RELU6, BOTH_SIGNS, BESIDE_ZERO = clip("zero", "six"), clip("minus", "three"), clip("one", "six")


def network(path, between, also="three", outputs=("embedding",)):
    """A layer, what stands between, a layer, its sum with another tensor, a pool: (B, 3, 16, 16) to (B, 64)."""
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["wide"], "conv"),
        *between,
        helper.make_node("Conv", ["narrow", "v"], ["mixed"], "mix"),
        helper.make_node("Add", ["mixed", also], ["sum"], "add"),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["embedding"], "flatten"),
    ]
    info = helper.make_tensor_value_info
    shapes = {"embedding": ["b", 64], "wide": ["b", 64, 16, 16]}
    graph = helper.make_graph(
        nodes,
        "g",
        [info("image", TensorProto.FLOAT, ["b", 3, 16, 16])],
        [info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(np.asarray(own), name) for name, own in STORED.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def quantised(source, values, calibration, **options):
    target = source.with_name("int8.onnx")
    Int8Static(StaticConfig(**options), "q").quantize(source, target, calibration(values))
    model = onnx.load(target)
    return target, model, {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def order(model):
    """What each node gives, from the first layer to the second."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found, node = [], next(node for node in model.graph.node if node.name == "mix")
    while node.name != "conv":
        node = makers[node.input[0]]
        found.insert(0, node.op_type)
    return found


def product(values, weights):
    return np.einsum("oi,bihw->bohw", weights[:, :, 0, 0].astype(np.float64), values.astype(np.float64))


def rounded(values, low, high):
    """On 256 steps from low to high, 0 among them: Jacob et al. 2018, section 2.1."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255
    zero = np.rint(-low / step)
    return (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step


def rounded_weights(weights):
    step = np.abs(weights).max((1, 2, 3), keepdims=True) / 127
    return np.rint(weights / step) * step


def answers_by_hand(images, clamp):
    """What the int8 file should answer, in float64: each tensor rounded in the range that it has in the float network."""
    float_narrow = clamp(product(images, STORED["w"]))
    float_mixed = product(float_narrow, STORED["v"])
    narrow = clamp(product(rounded(images, images.min(), images.max()), rounded_weights(STORED["w"])))
    narrow = rounded(narrow, float_narrow.min(), float_narrow.max())
    mixed = rounded(product(narrow, rounded_weights(STORED["v"])), float_mixed.min(), float_mixed.max())
    return mixed.mean((2, 3)) + 3, float_narrow


CLAMPS = [
    (RELU6, lambda values: values.clip(0, 6)),
    (RELU, lambda values: values.clip(0, None)),
    (BOTH_SIGNS, lambda values: values.clip(-1, 3)),
    (BESIDE_ZERO, lambda values: values.clip(1, 6)),
]
NAMES = ["relu6", "relu", "both signs", "beside zero"]


@pytest.mark.parametrize(("between", "clamp"), CLAMPS, ids=NAMES)
def test_answers_are_those_of_a_rounding_behind_the_clamp(tmp_path, images, calibration, run, between, clamp):
    source = network(tmp_path / "m.onnx", between)
    target, _, stored = quantised(source, images, calibration)
    expected, narrow = answers_by_hand(images, clamp)
    low, high = min(narrow.min(), 0.0), max(narrow.max(), 0.0)
    assert stored["narrow_scale"] == pytest.approx((high - low) / 255, rel=1e-5)
    assert stored["narrow_zero_point"] == pytest.approx(-low / stored["narrow_scale"], abs=0.51)
    np.testing.assert_allclose(run(target, images), expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "entropy"])
@pytest.mark.parametrize("between", [RELU6, RELU], ids=["relu6", "relu"])
def test_an_idle_clamp_stays_in_the_file_and_is_rounded_once_behind(
    tmp_path, images, calibration, run, cosine, fused_operators, between, ranges
):
    source = network(tmp_path / "m.onnx", between)
    target, model, stored = quantised(source, images, calibration, ranges=ranges)
    assert order(model) == ["Conv", between[0].op_type, "QuantizeLinear", "DequantizeLinear"]
    assert not {"wide_scale", "wide_zero_point"} & stored.keys()
    onnx.checker.check_model(model, full_check=True)
    assert cosine(run(source, images), run(target, images)) > 0.99
    # the runtime makes one integer layer of it, and counts it so
    assert {"Clip", "Relu", "Conv", "FusedConv"}.isdisjoint(fused_operators(target))
    assert int8_share(target) == 1.0


@pytest.mark.parametrize(
    ("between", "options"),
    [(RELU6, {"activation": "int8"}), (RELU, {"activation": "int8"}), (BOTH_SIGNS, {}), (BESIDE_ZERO, {})],
)
def test_where_the_grid_reaches_beyond_the_clamp_both_sides_are_rounded_on_one_grid(
    tmp_path, images, calibration, run, cosine, fused_operators, between, options
):
    source = network(tmp_path / "m.onnx", between)
    target, model, stored = quantised(source, images, calibration, **options)
    pair = ["QuantizeLinear", "DequantizeLinear"]
    assert order(model) == ["Conv", *pair, between[0].op_type, *pair]
    assert stored["wide_scale"] == stored["narrow_scale"] and stored["wide_zero_point"] == stored["narrow_zero_point"]
    assert cosine(run(source, images), run(target, images)) > 0.99
    assert {"Conv", "FusedConv"}.isdisjoint(fused_operators(target)) and int8_share(target) == 1.0


@pytest.mark.parametrize("between", [HARDSWISH, SILU, BY_HAND], ids=["hardswish", "silu", "hardswish by hand"])
def test_curves_are_no_clamps_and_have_the_grids_of_the_library(tmp_path, images, calibration, between):
    source = network(tmp_path / "m.onnx", between)
    assert "wide" not in clamped(preprocessed(source, tmp_path / "clean.onnx"))
    _, _, stored = quantised(source, images, calibration)
    theirs = library(tmp_path / "clean.onnx", images, ["Conv"])
    assert {name for name in theirs if name.endswith("_scale")} == {"image_scale", "w_scale", "wide_scale", "narrow_scale", "v_scale", "mixed_scale"}  # fmt: skip
    assert theirs.keys() == stored.keys()
    for name, values in theirs.items():
        np.testing.assert_array_equal(stored[name], values, err_msg=name)


def test_a_tensor_that_something_else_reads_too_keeps_its_own_grid(tmp_path, images, calibration, run, cosine):
    source = network(tmp_path / "m.onnx", RELU6, also="wide")
    assert clamped(onnx.load(source)) == {} and shared(onnx.load(source)) == ["clamp"]
    target, _, stored = quantised(source, images, calibration)
    wide = product(images, STORED["w"])
    assert stored["wide_scale"] == pytest.approx((wide.max() - wide.min()) / 255, rel=1e-5)
    assert stored["narrow_scale"] == pytest.approx(6 / 255, rel=1e-5)
    assert cosine(run(source, images), run(target, images)) > 0.99


def test_a_tensor_that_the_graph_gives_keeps_its_own_grid(tmp_path, images, calibration):
    source = network(tmp_path / "m.onnx", RELU6, outputs=("embedding", "wide"))
    assert shared(onnx.load(source)) == ["clamp"]
    _, _, stored = quantised(source, images, calibration)
    assert stored["wide_scale"] > 20 * stored["narrow_scale"]


def test_a_clamp_with_bounds_that_are_computed_keeps_both_roundings(tmp_path, images, calibration, run, cosine):
    bounds = [
        helper.make_node("ReduceMax", ["wide"], ["top"], "top", keepdims=0),
        helper.make_node("Clip", ["wide", "zero", "top"], ["narrow"], "clamp"),
    ]
    source = network(tmp_path / "m.onnx", bounds)
    assert shared(onnx.load(source)) == ["clamp"]
    target, model, _ = quantised(source, images, calibration)
    assert "Clip" in order(model)
    assert cosine(run(source, images), run(target, images)) > 0.99


def test_two_clamps_share_the_grid_of_the_last():
    nodes = [
        helper.make_node("Relu", ["a"], ["b"], "one"),
        helper.make_node("Clip", ["b", "zero", "six"], ["c"], "two"),
    ]
    info = helper.make_tensor_value_info
    ends = [[info(name, TensorProto.FLOAT, ["n"])] for name in ("a", "c")]
    model = helper.make_model(helper.make_graph(nodes, "g", *ends))
    ranges = {"a": 3, "b": 2, "c": 1}
    for before, behind in clamped(model).items():
        ranges[before] = ranges[behind]
    assert ranges == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("activation", ["uint8", "int8"])
@pytest.mark.parametrize(("between", "clamp"), CLAMPS, ids=NAMES)
def test_every_part_in_float_is_the_float_network(tmp_path, images, calibration, run, between, clamp, activation):
    source = network(tmp_path / "m.onnx", between)
    _, model, _ = quantised(source, images, calibration, activation=activation)
    restored = without(model, onnx.load(source), parts(model))
    assert not {node.op_type for node in restored.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    onnx.save(restored, tmp_path / "float.onnx")
    expected = product(clamp(product(images, STORED["w"])), STORED["v"]).mean((2, 3)) + 3
    np.testing.assert_allclose(run(tmp_path / "float.onnx", images), expected, rtol=1e-4, atol=1e-3)


def test_a_part_in_float_reads_what_the_clamp_gives(tmp_path, images, calibration):
    source = network(tmp_path / "m.onnx", RELU6)
    _, model, _ = quantised(source, images, calibration)
    (part,) = (own for own in parts(model) if own.layers == ("mix",))
    assert part.tensor == "narrow"
    restored = without(model, onnx.load(source), [part])
    assert order(restored) == ["Conv", "Clip"]


@pytest.mark.parametrize("layer", ["conv", "mix"])
def test_a_layer_that_stays_float_keeps_its_clamp(tmp_path, images, calibration, run, cosine, layer):
    source = network(tmp_path / "m.onnx", RELU6)
    writer = StaticWriter(source, tmp_path, StaticConfig(), "q")
    writer.write(tmp_path / "partly.onnx", calibration(images), [layer])
    assert any(node.op_type == "Clip" for node in onnx.load(tmp_path / "partly.onnx").graph.node)
    assert cosine(run(source, images), run(tmp_path / "partly.onnx", images)) > 0.99


def test_a_clamp_that_is_excluded_by_name_or_rounded_with_all_operators_is_right_too(
    tmp_path, images, calibration, run, cosine
):
    source = network(tmp_path / "m.onnx", RELU6)
    for options in ({"exclude": ["clamp"]}, {"operators": "all"}, {"operators": ["Conv", "Clip"]}):
        target, model, _ = quantised(source, images, calibration, **options)
        assert "Clip" in order(model)
        assert cosine(run(source, images), run(target, images)) > 0.99, options


def test_a_graph_that_has_another_grid_behind_its_clamp_is_left_as_it_is(tmp_path, images, calibration):
    _, model, _ = quantised(network(tmp_path / "m.onnx", RELU6), images, calibration, activation="int8")
    for own in model.graph.initializer:
        if own.name.endswith("_zero_point") and own.name.startswith(("wide", "narrow")):
            own.CopyFrom(numpy_helper.from_array(np.array(0, np.uint8), own.name))  # idle now
        if own.name == "wide_scale":
            own.CopyFrom(numpy_helper.from_array(np.array(0.01, np.float32), own.name))
    before = model.SerializeToString()
    round_behind(model)
    assert model.SerializeToString() == before


@pytest.fixture
def faults(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "backends"))
    return importlib.import_module("graph_faults")


@pytest.mark.parametrize("activation", ["uint8", "int8"])
@pytest.mark.parametrize("between", [RELU6, RELU, BOTH_SIGNS], ids=["relu6", "relu", "both signs"])
def test_right_layers_are_not_blamed_and_wrong_ones_are(tmp_path, images, calibration, faults, between, activation):
    source = network(tmp_path / "m.onnx", between)
    target, model, _ = quantised(source, images, calibration, activation=activation)
    feeds = {"image": images[:8]}
    expected = layer_outputs(source, feeds)
    assert first(departures(expected, layer_outputs(target, feeds)), ROUNDED_LIMIT) is None
    tensors = [part.tensor for part in parts(model)]
    harmless = {"wide"} if between is BOTH_SIGNS else set()  # what lies beyond both bounds is cut off, at any scale
    changes = [("int8_weight_scale", place) for place in (0.0, 0.9)]
    changes += [
        ("int8_activation_scale", place / len(tensors))
        for place in range(len(tensors))
        if tensors[place] not in harmless
    ]
    for fault, place in changes:
        wrong = onnx.ModelProto()
        wrong.CopyFrom(model)
        layer = getattr(faults, fault)(wrong, place)
        onnx.save(wrong, target)
        blamed = first(departures(expected, layer_outputs(target, feeds)), ROUNDED_LIMIT)
        assert blamed is not None and blamed.layer == layer, (fault, place)


def library(clean, images, operators):
    """Constants of the file that onnxruntime writes by itself."""

    class Reader:
        def __init__(self):
            self._next = {"image": images}

        def get_next(self):
            found, self._next = self._next, None
            return found

    target = clean.with_name("theirs.onnx")
    with quiet():
        quantize_static(
            str(clean),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=operators,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(target).graph.initializer}


def test_the_grids_are_those_of_the_library_when_it_takes_the_clamp_out(tmp_path, images, calibration):
    source = network(tmp_path / "m.onnx", RELU6)
    _, _, stored = quantised(source, images, calibration)
    preprocessed(source, tmp_path / "clean.onnx")
    theirs = library(tmp_path / "clean.onnx", images, ["Conv", "Clip"])
    assert theirs.keys() == stored.keys() - {"zero", "six"}
    for name, values in theirs.items():
        np.testing.assert_array_equal(stored[name], values, err_msg=name)
