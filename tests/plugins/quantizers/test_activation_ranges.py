"""Ranges from chunks equal those that onnxruntime finds when it keeps every sample; bounded memory by construction."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, create_calibrator, quantize_static

from edgefw.plugins.quantizers import activation_ranges as module
from edgefw.plugins.quantizers.activation_ranges import RangeOptions, activation_ranges
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.plugins.quantizers.onnx_graph import preprocessed, quiet

OPERATORS = ["Conv", "Gemm"]
METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
METHODS["entropy"] = CalibrationMethod.Entropy


class Whole:
    """All samples at once, as the library's examples read them."""

    def __init__(self, values):
        self._next = {"image": values}

    def get_next(self):
        found, self._next = self._next, None
        return found


@pytest.fixture
def clean(conv_file, tmp_path):
    preprocessed(conv_file, tmp_path / "clean.onnx")
    return tmp_path / "clean.onnx"


@pytest.fixture
def uneven(images):
    """The first samples are dark: whoever takes the width of a bin from them needs thousands of bins."""
    return images * np.linspace(0.01, 2.0, len(images), dtype=np.float32)[:, None, None, None]


def found(clean, calibration, method, values, chunk=3, percentile=99.9):
    options = RangeOptions(method=method, percentile=percentile, chunk=chunk)
    with quiet():
        ranges = activation_ranges(clean, OPERATORS, calibration(values), options)
    return {name: [bound.item() for bound in ranges[name].range_value] for name in ranges}


def same(one, other):
    assert one.keys() == other.keys()
    for name, bounds in one.items():
        assert bounds == pytest.approx(other[name], rel=1e-6, abs=1e-6)


def kept_whole(clean, tmp_path, method, values, percentile=99.9):
    options = {"percentile": percentile, "symmetric": False}
    options |= {"num_bins": module.BINS[method]} if method in module.BINS else {}
    with quiet():
        own = create_calibrator(clean, OPERATORS, str(tmp_path / "a.onnx"), METHODS[method], extra_options=options)
        own.collect_data(Whole(values))
        ranges = own.compute_data()
    return {name: [bound.item() for bound in ranges[name].range_value] for name in ranges}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_ranges_equal_those_of_the_library_with_all_samples_kept(clean, calibration, uneven, tmp_path, method, chunk):
    same(found(clean, calibration, method, uneven, chunk), kept_whole(clean, tmp_path, method, uneven))


@pytest.mark.parametrize("method", METHODS)
def test_order_of_the_samples_does_not_matter(clean, calibration, uneven, method):
    same(found(clean, calibration, method, uneven), found(clean, calibration, method, uneven[::-1].copy()))


@pytest.mark.parametrize("held", [1, 20_000])
def test_tensors_in_small_groups_give_the_same(clean, calibration, uneven, monkeypatch, held):
    together = found(clean, calibration, "percentile", uneven)
    monkeypatch.setattr(module, "HELD", held)
    same(found(clean, calibration, "percentile", uneven), together)


DEEP = """
import sys
from pathlib import Path
import numpy as np
import onnx
from onnx import TensorProto, helper
from edgefw.contracts.quantizer import Calibration
from edgefw.plugins.quantizers.activation_ranges import RangeOptions, activation_ranges

file = Path(sys.argv[1])
shape = ["batch", 32, 128, 128]
values = [helper.make_tensor_value_info(f"t{place}", TensorProto.FLOAT, shape) for place in range(61)]
nodes = [helper.make_node("Relu", [f"t{place}"], [f"t{place + 1}"]) for place in range(60)]
graph = helper.make_graph(nodes, "deep", values[:1], values[-1:], value_info=values[1:-1])
onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), file)
samples = Calibration(batches=lambda: iter([{"t0": np.ones((4, *shape[1:]), np.float32)}]), samples=4)

def most():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10

before = most()
ranges = activation_ranges(file, ["Relu"], samples, RangeOptions(method="minmax", percentile=99.9, chunk=4))
assert len(list(ranges)) == 61
print(most() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux says how much memory a process took")
def test_a_deep_graph_is_not_held_whole(tmp_path):
    command = [sys.executable, "-c", DEEP, str(tmp_path / "deep.onnx")]
    took = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert took < 160  # MiB; its 61 tensors have 488


def test_percentile_is_that_of_all_values_to_two_bins(clean, calibration, uneven):
    low, high = found(clean, calibration, "percentile", uneven, percentile=99.0)["image"]
    bin_width = 2 * float(np.abs(uneven).max()) / 2048  # the tail is thin: one empty bin beside it
    assert low == pytest.approx(np.percentile(uneven, 0.5), abs=2 * bin_width)
    assert high == pytest.approx(np.percentile(uneven, 99.5), abs=2 * bin_width)


def test_images_of_zeros_are_no_obstacle(clean, calibration, images):
    assert found(clean, calibration, "percentile", images * 0)["image"] == [0.0, 0.0]


def test_what_is_held_bounds_samples_and_tensors(clean, images, monkeypatch):
    sizes = module._sample_bytes(clean, ["image", "a", "c"], {"image": images[:1]})
    assert sizes == {"image": 4 * 3 * 16 * 16, "a": 4 * 16 * 8 * 8, "c": 4 * 64 * 8 * 8}
    monkeypatch.setattr(module, "HELD", 20_000)
    groups = list(module._groups(sizes, 8))
    assert groups == [(["image", "a"], 2), (["c"], 1)]
    assert all(chunk * sum(sizes[name] for name in group) <= 20_000 for group, chunk in groups)


def without_the_relu(model):
    """The graph in which the layer before the Relu gives what the Relu gave."""
    (relu,) = (node for node in model.graph.node if node.op_type == "Relu")
    (layer,) = (node for node in model.graph.node if relu.input[0] in node.output)
    layer.output[0] = relu.output[0]
    model.graph.node.remove(relu)
    return model.graph


def test_int8_file_is_the_one_that_the_library_writes_but_for_the_relu_that_stays(
    conv_file, clean, calibration, images, tmp_path
):
    Int8Static(StaticConfig(), "q").quantize(conv_file, tmp_path / "ours.onnx", calibration(images))
    with quiet():
        quantize_static(
            str(clean),
            str(tmp_path / "theirs.onnx"),
            Whole(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*OPERATORS, "Relu"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    ours, theirs = without_the_relu(onnx.load(tmp_path / "ours.onnx")), onnx.load(tmp_path / "theirs.onnx").graph
    nodes = [{node.name: node.SerializeToString() for node in graph.node} for graph in (ours, theirs)]
    assert nodes[0] == nodes[1] and len(nodes[0]) == len(ours.node)
    stored = [{own.name: numpy_helper.to_array(own) for own in graph.initializer} for graph in (ours, theirs)]
    assert stored[0].keys() == stored[1].keys()
    for name, values in stored[0].items():
        np.testing.assert_array_equal(values, stored[1][name], err_msg=name)
