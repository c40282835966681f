"""Clean layers of half-precision files stay below the limit of their format; a layer that is 10 % off does not."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgefw.contracts.quantizer import Calibration
from edgefw.plugins.backends.onnx_layers import layer_outputs
from edgefw.plugins.quantizers.fp16 import Half, HalfConfig
from edgefw.runtime.departure import FLOAT_LIMIT, HALF_LIMITS, ROUNDED_LIMIT, blame_row, limit_of

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A network with convolutions, sums of branches and batch norms, weights at random."""
    from edgefw.testing.onnx_files import export

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", pretrained=False, num_classes=0).eval()
    return export(network, torch.zeros(2, 3, 64, 64), tmp_path_factory.mktemp("half") / "float.onnx")


@pytest.fixture(scope="module")
def feeds():
    return {"image": np.random.default_rng(0).normal(size=(4, 3, 64, 64)).astype(np.float32)}


def half(source, target, compute):
    calibration = Calibration(batches=lambda: iter(()), samples=1)
    Half(HalfConfig(compute=compute), "q").quantize(source, target, calibration)
    return target


def row(source, file, feeds):
    return blame_row("a", "fp16", layer_outputs(source, feeds), layer_outputs(file, feeds))


@pytest.mark.parametrize("compute", ["fp32", "fp16"])
def test_clean_layers_stay_below(source, feeds, tmp_path, compute):
    found = row(source, half(source, tmp_path / "half.onnx", compute), feeds)
    own = [layer["own"] for layer in found["layers"]]
    assert found["first"] is None and len(own) > 10
    assert 1e-5 < max(own) < HALF_LIMITS["fp16"] / 3


@pytest.mark.parametrize("compute", ["fp32", "fp16"])
def test_a_layer_that_is_ten_percent_off_is_blamed(source, feeds, tmp_path, compute):
    file = half(source, tmp_path / "half.onnx", compute)
    model = onnx.load(file)
    entries = [own for own in model.graph.initializer if own.data_type == TensorProto.FLOAT16 and len(own.dims) == 4]
    entry = entries[len(entries) // 2]
    values = numpy_helper.to_array(entry).astype(np.float32) * 1.1
    entry.CopyFrom(numpy_helper.from_array(values.astype(np.float16), entry.name))
    onnx.save(model, file)
    found = row(source, file, feeds)
    readers = {entry.name}
    readers |= {node.output[0] for node in model.graph.node if entry.name in node.input and node.op_type == "Cast"}
    changed = next(node for node in model.graph.node if node.op_type == "Conv" and readers & set(node.input))
    assert found["first"]["layer"] == (changed.name or changed.output[0])
    assert HALF_LIMITS["fp16"] < found["first"]["own"] < ROUNDED_LIMIT


def test_rounding_of_one_layer_by_hand():
    """Weights, inputs and sums rounded to p bits: near two roundings' mean without cancelling, and below the limit with it."""
    draw = np.random.default_rng(0)
    weights, values = draw.normal(size=(64, 576)), draw.normal(size=(576, 200))
    for name, bits in (("fp16", 11), ("bf16", 8)):
        found = rounded(rounded(weights, bits) @ rounded(values, bits), bits)
        exact = weights @ values
        own = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        assert 2.0**-bits / 3 < own < 3 * 2.0**-bits < HALF_LIMITS[name] == limit_of(name)


def rounded(values, bits):
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(mantissa * 2.0**bits), exponent - bits)


def test_other_precisions_keep_theirs():
    assert limit_of("fp32") == FLOAT_LIMIT and limit_of("int8") == limit_of("int8-static") == ROUNDED_LIMIT
    assert FLOAT_LIMIT < HALF_LIMITS["fp16"] < HALF_LIMITS["bf16"] < 0.1 < ROUNDED_LIMIT
