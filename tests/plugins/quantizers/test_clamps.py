"""Relu and Clip behind rounded layers: whose grid a layer takes, and which clamps must stay."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefw.plugins.backends.onnx_layers import layer_outputs
from edgefw.plugins.quantizers.clamps import bounds_beside_zero, clamped
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.stages.departure import ROUNDED_LIMIT, departures, first


def clip_file(path, low, high, extra_reader=False):
    """A convolution whose values lie far beyond its clamp, the clamp, a pool: (B, 3, 16, 16) to (B, 64)."""
    draw = np.random.default_rng(0)
    stored = {
        "w": draw.normal(size=(64, 3, 3, 3)).astype(np.float32) * 3,
        "low": np.float32(low),
        "high": np.float32(high),
        "v": draw.normal(size=(64, 64, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["wide"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["wide", "low", "high"], ["narrow"], "clip"),
        helper.make_node("Conv", ["narrow", "v"], ["mixed"], "mix"),
        helper.make_node("Add", ["mixed", "wide"] if extra_reader else ["mixed", "mixed"], ["sum"], "add"),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["embedding"], "flatten"),
    ]
    ends = (
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["b", 3, 16, 16])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["b", 64])],
    )
    graph = helper.make_graph(
        nodes, "g", *ends, [numpy_helper.from_array(np.asarray(own), name) for name, own in stored.items()]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def quantised(source, values, calibration, **options):
    target = source.with_name("int8.onnx")
    Int8Static(StaticConfig(**options), "q").quantize(source, target, calibration(values))
    model = onnx.load(target)
    return target, model, {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "entropy"])
def test_a_layer_takes_the_grid_of_the_clamp_behind_it_and_the_clamp_goes(
    tmp_path, images, calibration, run, cosine, ranges
):
    source = clip_file(tmp_path / "m.onnx", 0.0, 6.0)
    target, model, stored = quantised(source, images, calibration, ranges=ranges)
    assert not any(node.op_type == "Clip" for node in model.graph.node)
    assert "wide_scale" not in stored
    assert stored["narrow_scale"] <= 6.0 / 255 * (1 + 1e-6)
    assert stored["narrow_zero_point"] == 0
    assert cosine(run(source, images), run(target, images)) > 0.99


def test_where_the_grid_is_symmetric_the_clamp_stays_and_both_have_one_grid(tmp_path, images, calibration, run, cosine):
    source = clip_file(tmp_path / "m.onnx", 0.0, 6.0)
    target, model, stored = quantised(source, images, calibration, activation="int8")
    assert any(node.op_type == "Clip" for node in model.graph.node)
    assert stored["wide_scale"] == stored["narrow_scale"] == pytest.approx(6.0 / 127)
    assert cosine(run(source, images), run(target, images)) > 0.99


def test_rounding_without_the_clamp_is_the_clamp_before_rounding():
    values = np.random.default_rng(1).normal(scale=20, size=10_000)
    step = 6.0 / 255
    fused = np.clip(np.rint(values / step), 0, 255) * step
    apart = np.clip(np.rint(np.clip(values, 0, 6) / step), 0, 255) * step
    np.testing.assert_array_equal(fused, apart)


def test_a_clip_that_cuts_0_off_stays(tmp_path, images, calibration, run, cosine):
    source = clip_file(tmp_path / "m.onnx", 1.0, 6.0)
    assert bounds_beside_zero(onnx.load(source)) == ["clip"]
    target, model, _ = quantised(source, images, calibration)
    assert any(node.op_type == "Clip" for node in model.graph.node)
    assert cosine(run(source, images), run(target, images)) > 0.99


def test_a_clip_with_bounds_that_are_computed_stays(tmp_path):
    model = onnx.load(clip_file(tmp_path / "m.onnx", 0.0, 6.0))
    (entry,) = (own for own in model.graph.initializer if own.name == "low")
    model.graph.initializer.remove(entry)
    assert bounds_beside_zero(model) == ["clip"]


@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_layers_without_their_clamp_are_not_blamed_and_wrong_ones_are(tmp_path, images, calibration, activation):
    source = clip_file(tmp_path / "m.onnx", 0.0, 6.0)
    target, model, stored = quantised(source, images, calibration, activation=activation)
    expected, feeds = layer_outputs(source, {"image": images[:8]}), {"image": images[:8]}
    assert first(departures(expected, layer_outputs(target, feeds)), ROUNDED_LIMIT) is None
    (scale,) = (own for own in model.graph.initializer if own.name == "w_scale")
    scale.CopyFrom(numpy_helper.from_array(2 * stored["w_scale"], "w_scale"))
    onnx.save(model, target)
    assert first(departures(expected, layer_outputs(target, feeds)), ROUNDED_LIMIT).layer == "conv"


def test_a_layer_that_something_else_reads_too_keeps_its_own_grid(tmp_path, images, calibration):
    source = clip_file(tmp_path / "m.onnx", 0.0, 6.0, extra_reader=True)
    assert clamped(onnx.load(source)) == {}
    _, _, stored = quantised(source, images, calibration)
    assert stored["wide_scale"] > 5 * stored["narrow_scale"]
