"""Half precision: stored numbers and answers against NumPy, what ONNX Runtime folds, and what is refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from torch import nn

from edgefw.errors import ExportError
from edgefw.plugins.quantizers.fp16 import Half, HalfConfig


def quantised(source, values, calibration, **options):
    target = source.with_name("half.onnx")
    report = Half(HalfConfig(**options), "export.quantizers[0]").quantize(source, target, calibration(values))
    return target, report


def initialisers(path) -> dict[str, np.ndarray]:
    return {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}


def rounded_weights(source, target):
    """The float file with its weights rounded to fp16 by NumPy, in float32."""
    model = onnx.load(source)
    for entry in model.graph.initializer:
        values = numpy_helper.to_array(entry)
        if values.size >= 256:
            entry.CopyFrom(numpy_helper.from_array(values.astype(np.float16).astype(np.float32), entry.name))
    onnx.save(model, target)
    return target


def test_weights_are_stored_in_half_the_bytes_and_computed_with_in_float(conv_file, images, calibration, run, tmp_path):
    target, report = quantised(conv_file, images, calibration)
    stored, weights = initialisers(target), initialisers(conv_file)
    assert {name for name, values in stored.items() if values.dtype == np.float16} == {"w1_fp16", "w2_fp16", "w3_fp16"}
    np.testing.assert_array_equal(stored["w2_fp16"], weights["w2"].astype(np.float16))
    assert stored["b3"].dtype == np.float32
    expected = run(rounded_weights(conv_file, tmp_path / "rounded.onnx"), images)
    np.testing.assert_allclose(run(target, images), expected, rtol=1e-5, atol=1e-6)
    assert target.stat().st_size < 0.55 * conv_file.stat().st_size
    assert report.details["bytes_after"] == target.stat().st_size


def test_onnxruntime_folds_the_casts_when_it_opens_the_file(conv_file, images, calibration, fused_operators):
    target, _ = quantised(conv_file, images, calibration)
    assert "Cast" in {node.op_type for node in onnx.load(target).graph.node}
    assert "Cast" not in fused_operators(target)


def test_layers_compute_in_half_between_float_ends_where_that_is_asked_for(conv_file, images, calibration, run):
    target, report = quantised(conv_file, images, calibration, compute="fp16")
    graph = onnx.load(target).graph
    assert all(entry.data_type != TensorProto.FLOAT for entry in graph.initializer if len(entry.dims) > 1)
    assert graph.input[0].type.tensor_type.elem_type == graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    found, expected = run(target, images), run(conv_file, images)
    relative = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert 1e-6 < relative.max() < 1e-2
    assert report.details["compute"] == "fp16"


@pytest.mark.parametrize("compute", ["fp32", "fp16"])
def test_numbers_beyond_fp16_are_refused(conv_file, images, calibration, compute):
    model = onnx.load(conv_file)
    (entry,) = (own for own in model.graph.initializer if own.name == "w2")
    values = numpy_helper.to_array(entry).copy()
    values[3, 2, 1, 0] = -70000
    entry.CopyFrom(numpy_helper.from_array(values, "w2"))
    onnx.save(model, conv_file)
    with pytest.raises(ExportError) as caught:
        quantised(conv_file, images, calibration, compute=compute)
    assert str(caught.value) == "export.quantizers[0]: 'w2' has 70000, and fp16 ends at 65504. Remove the quantizer."


def test_a_file_without_a_large_tensor_is_refused(conv_file, images, calibration):
    model = onnx.load(conv_file)
    del model.graph.initializer[:]
    onnx.save(model, conv_file)
    with pytest.raises(ExportError, match="fp16 made the file larger .* Remove the quantizer"):
        quantised(conv_file, images, calibration)


def test_the_planned_size_is_two_bytes_per_parameter():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 4))
    assert Half(HalfConfig(), "q").planned_bytes([network, nn.Linear(2, 2)]) == 2 * (3 * 8 * 9 + 8 + 8 * 4 + 4 + 6)
