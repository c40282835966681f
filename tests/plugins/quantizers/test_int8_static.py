"""Static int8: the numbers in the file, parity, size, operator selection, and what is refused."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefw.errors import ExportError
from edgefw.plugins.quantizers import int8_latency_aware
from edgefw.plugins.quantizers.int8_latency_aware import LatencyAwareConfig
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig, build
from edgefw.registry.technique import BuildContext


def quantised(source, values, calibration, **options):
    target = source.with_name("int8.onnx")
    report = Int8Static(StaticConfig(**options), "export.quantizers[0]").quantize(source, target, calibration(values))
    return target, report


def initialisers(path) -> dict[str, np.ndarray]:
    return {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}


def test_int8_stays_close_and_shrinks(conv_file, images, calibration, run, cosine):
    target, report = quantised(conv_file, images, calibration)
    assert cosine(run(conv_file, images), run(target, images)) > 0.999
    assert target.stat().st_size < 0.7 * conv_file.stat().st_size  # 11,000 weights: the graph itself counts
    assert report.details["bytes_after"] == target.stat().st_size
    assert report.details["operators"] == ["Conv", "Gemm"]
    assert report.details["samples"] == 40


def test_weights_are_symmetric_int8_per_output_channel(conv_file, images, calibration):
    target, _ = quantised(conv_file, images, calibration)
    stored, weights = initialisers(target), initialisers(conv_file)["w2"]
    scale = np.abs(weights).max(axis=(1, 2, 3)) / 127
    np.testing.assert_allclose(stored["w2_scale"], scale, rtol=1e-6)
    expected = np.clip(np.rint(weights / scale[:, None, None, None]), -127, 127)
    assert stored["w2_quantized"].dtype == np.int8
    assert np.abs(stored["w2_quantized"] - expected).max() <= 1  # halves may round to either side


def test_input_range_is_the_minimum_and_maximum_of_all_samples(conv_file, images, calibration):
    images[17, 1, 3, 3] = 9.0  # in the middle of the stream
    stored = initialisers(quantised(conv_file, images, calibration)[0])
    low, high = min(images.min(), 0.0), max(images.max(), 0.0)
    assert stored["image_scale"] == pytest.approx((high - low) / 255, rel=1e-5)


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "entropy"])
def test_every_way_to_a_range_works_and_prints_nothing(conv_file, images, calibration, run, cosine, ranges, capsys):
    target, report = quantised(conv_file, images, calibration, ranges=ranges)
    assert cosine(run(conv_file, images), run(target, images)) > 0.98
    assert report.details["ranges"] == ranges
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "entropy"])
def test_ranges_do_not_depend_on_how_many_samples_are_held(conv_file, images, calibration, ranges):
    one = initialisers(quantised(conv_file, images, calibration, batch=1, ranges=ranges)[0])
    many = initialisers(quantised(conv_file, images, calibration, batch=40, ranges=ranges)[0])
    assert one.keys() == many.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, many[name], err_msg=name)


def test_percentile_ignores_an_outlier_that_minmax_follows(conv_file, images, calibration):
    images[5, 0, 0, 0] = 500.0
    minmax = initialisers(quantised(conv_file, images, calibration)[0])["image_scale"]
    percentile = initialisers(quantised(conv_file, images, calibration, ranges="percentile", percentile=99.9)[0])
    assert percentile["image_scale"] < minmax / 20


@pytest.mark.parametrize("config", [StaticConfig, LatencyAwareConfig])
def test_a_percentile_that_no_range_uses_is_refused(config):
    with pytest.raises(
        ValueError, match=r"percentile 99.9 has no effect with ranges minmax. Set ranges: percentile, or"
    ):
        config(percentile=99.9)
    with pytest.raises(ValueError, match="has no effect with ranges entropy"):
        config(percentile=99.9, ranges="entropy")
    assert config(ranges="percentile", percentile=99.9).percentile == 99.9
    assert config(**config().model_dump()) == config()  # what `edgefw plugins show` prints can be pasted


def test_signed_activations_are_symmetric(conv_file, images, calibration, run, cosine):
    target, _ = quantised(conv_file, images, calibration, activation="int8")
    stored = initialisers(target)
    assert stored["image_zero_point"].dtype == np.int8
    assert stored["image_zero_point"] == 0
    assert cosine(run(conv_file, images), run(target, images)) > 0.999


@pytest.mark.parametrize("activation", ["uint8", "int8"])
@pytest.mark.parametrize("zero_point", ["affine", "symmetric"])
def test_scale_and_zero_point_are_those_of_the_range(conv_file, images, calibration, activation, zero_point):
    values = np.clip(images, -1.0, 3.0)
    stored = initialisers(quantised(conv_file, values, calibration, activation=activation, zero_point=zero_point)[0])
    lowest = 0 if activation == "uint8" else -128
    if zero_point == "affine":  # -1 and 3 become the ends: r = S (q - Z)
        scale, zero = 4.0 / 255, round(lowest + 1.0 / (4.0 / 255))
    elif activation == "uint8":  # 3 on both sides
        scale, zero = 6.0 / 255, 128
    else:  # 0 stays 0, and -128 is not used
        scale, zero = 3.0 / 127, 0
    assert stored["image_scale"] == pytest.approx(scale, rel=6e-3)
    assert stored["image_zero_point"] == pytest.approx(zero, abs=1)
    assert stored["image_zero_point"].dtype == np.dtype(activation)


def test_attention_keeps_products_of_activations_in_float(attention_file, tokens, calibration, run, cosine):
    target, report = quantised(attention_file, tokens, calibration)
    assert report.details["excluded_nodes"] == 2  # scores and mix
    assert cosine(run(attention_file, tokens), run(target, tokens)) > 0.999


def test_softmax_is_never_fused_with_a_calibrated_range(
    attention_file, tokens, calibration, run, cosine, fused_operators
):
    target, report = quantised(attention_file, tokens, calibration, operators=["MatMul"])
    assert report.details["excluded_nodes"] == 1  # mix, which reads the softmax
    assert "QLinearSoftmax" not in fused_operators(target)
    assert "QLinearMatMul" in fused_operators(target)
    assert cosine(run(attention_file, tokens), run(target, tokens)) > 0.999


def test_excluded_nodes_stay_float(conv_file, images, calibration):
    target, report = quantised(conv_file, images, calibration, exclude=["st*"])
    assert "w1" in initialisers(target)
    assert "w2_quantized" in initialisers(target)
    assert report.details["excluded_nodes"] == 1


def test_a_max_pool_between_int8_layers_keeps_the_grid_of_its_input(
    pooled_file, images, calibration, run, cosine, fused_operators
):
    target, report = quantised(pooled_file, images, calibration, ranges="percentile", percentile=99.0)
    assert report.details["operators"] == ["Conv"]
    stored = initialisers(target)
    assert "b_scale" in stored and "c_scale" not in stored  # percentiles of the two differ
    fused = fused_operators(target)
    assert "NhwcMaxPool" in fused and "MaxPool" not in fused
    assert cosine(run(pooled_file, images), run(target, images)) > 0.99


@pytest.mark.parametrize("options", [{"exclude": ["pool"]}, {"operators": ["Conv"]}])
def test_a_max_pool_stays_float_where_it_is_excluded_or_operators_are_named(
    pooled_file, images, calibration, fused_operators, options
):
    target, _ = quantised(pooled_file, images, calibration, ranges="percentile", percentile=99.0, **options)
    assert "c_scale" in initialisers(target) and "MaxPool" in fused_operators(target)


def test_a_max_pool_behind_a_float_layer_stays_float(pooled_file, images, calibration, fused_operators):
    target, _ = quantised(pooled_file, images, calibration, exclude=["stem"])
    assert "b_scale" not in initialisers(target) and "MaxPool" in fused_operators(target)


def test_pattern_without_a_node_is_told_with_names(conv_file, images, calibration):
    with pytest.raises(ExportError) as caught:
        quantised(conv_file, images, calibration, exclude=["stern"])
    message = str(caught.value)
    assert message.startswith("export.quantizers[0].exclude: 'stern' matches no node")
    assert "stem" in message


def test_operator_that_onnxruntime_cannot_quantise_is_told_with_the_list(conv_file, images, calibration):
    with pytest.raises(ExportError) as caught:
        quantised(conv_file, images, calibration, operators=["Convolution"])
    assert "cannot quantise Convolution. It can: " in str(caught.value)


@pytest.mark.parametrize(("make", "config"), [(build, StaticConfig), (int8_latency_aware.build, LatencyAwareConfig)])
def test_an_unknown_operator_is_refused_when_the_quantizer_is_built(make, config):
    context = BuildContext(path="export.quantizers[1]")
    with pytest.raises(
        ExportError, match=r"^export.quantizers\[1\].operators: onnxruntime cannot quantise Convv. It can: "
    ):
        make(config(operators=["Conv", "Convv"]), context)
    make(config(operators=["Conv"]), context)


def test_graph_without_the_chosen_operators_is_refused(conv_file, images, calibration):
    with pytest.raises(ExportError, match="the graph has none of MatMul"):
        quantised(conv_file, images, calibration, operators=["MatMul"])


def test_missing_calibration_data_are_refused(conv_file, images, calibration):
    quantizer = Int8Static(StaticConfig(), "q")
    with pytest.raises(ExportError, match="no calibration sample"):
        quantizer.quantize(conv_file, conv_file.with_name("t.onnx"), calibration(images[:0]))
    with pytest.raises(ExportError, match="before the promised 50 samples"):
        quantizer.quantize(conv_file, conv_file.with_name("t.onnx"), calibration(images, samples=50))


def test_file_that_is_no_model_is_refused(tmp_path, images, calibration):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ExportError, match="cannot prepare"):
        quantised(path, images, calibration)


def test_source_is_left_as_it_is(conv_file, images, calibration):
    before = conv_file.read_bytes()
    quantised(conv_file, images, calibration)
    assert conv_file.read_bytes() == before


MEMORY = """
import resource, sys
import numpy as np, onnx
from pathlib import Path
from onnx import TensorProto, helper, numpy_helper
from edgefw.contracts.quantizer import Calibration
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig

folder, samples, ranges = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rng = np.random.default_rng(0)
nodes, weights, last = [], [], "image"
for layer in range(6):  # 6 activations of 16 x 64 x 64 floats: 1.6 MB a sample
    shape = (16, 3 if layer == 0 else 16, 3, 3)
    weights.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) / 10, f"w{layer}"))
    nodes.append(helper.make_node("Conv", [last, f"w{layer}"], [f"a{layer}"], pads=[1, 1, 1, 1], name=f"conv{layer}"))
    last = f"a{layer}"
nodes.append(helper.make_node("GlobalAveragePool", [last], ["embedding"]))
info = helper.make_tensor_value_info
graph = helper.make_graph(
    nodes, "g", [info("image", TensorProto.FLOAT, ["b", 3, 64, 64])],
    [info("embedding", TensorProto.FLOAT, ["b", 16, 1, 1])], weights,
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "m.onnx")
def batches():
    for start in range(0, samples, 8):
        yield {"image": rng.normal(size=(8, 3, 64, 64)).astype(np.float32)}
Int8Static(StaticConfig(ranges=ranges), "q").quantize(
    folder / "m.onnx", folder / "q.onnx", Calibration(batches=batches, samples=samples)
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ranges", ["minmax", "percentile", "entropy"])
def test_memory_does_not_grow_with_the_number_of_samples(tmp_path, ranges):
    def peak(samples: int) -> float:
        command = [sys.executable, "-c", MEMORY, str(tmp_path), str(samples), ranges]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(result.stdout.split()[-1])

    few, many = peak(32), peak(512)  # kept activations of 512 samples would be 800 MB
    assert many < few + 60, (few, many)


def test_one_step_for_all_channels_stays_close_too(conv_file, images, calibration, run, cosine):
    target, _ = quantised(conv_file, images, calibration, per_channel=False)
    assert cosine(run(conv_file, images), run(target, images)) > 0.99
