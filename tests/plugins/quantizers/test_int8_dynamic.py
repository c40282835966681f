"""Dynamic int8: good for matrix products, refused for convolutional networks with the reason."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

from edgefw.errors import ExportError
from edgefw.plugins.quantizers.int8_dynamic import DynamicConfig, Int8Dynamic


def quantised(source, values, calibration, **options):
    target = source.with_name("int8.onnx")
    report = Int8Dynamic(DynamicConfig(**options), "export.quantizers[0]").quantize(source, target, calibration(values))
    return target, report


def test_matrix_products_become_int8(attention_file, tokens, calibration, run, cosine):
    target, report = quantised(attention_file, tokens, calibration)
    assert cosine(run(attention_file, tokens), run(target, tokens)) > 0.999
    assert target.stat().st_size < 0.6 * attention_file.stat().st_size
    operators = [node.op_type for node in onnx.load(target).graph.node]
    assert operators.count("MatMulInteger") == 4
    assert operators.count("MatMul") == 2  # products of two activations have no weight to shrink
    assert report.warnings == ()


def test_weight_scale_is_per_output_column(attention_file, tokens, calibration):
    target, _ = quantised(attention_file, tokens, calibration)
    stored = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(target).graph.initializer}
    weights = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(attention_file).graph.initializer}
    np.testing.assert_allclose(stored["query_scale"], np.abs(weights["query"]).max(axis=0) / 127, rtol=1e-5)


def test_convolutional_network_is_refused_with_reason_and_way_out(conv_file, images, calibration):
    with pytest.raises(ExportError) as caught:
        quantised(conv_file, images, calibration)
    message = str(caught.value)
    assert message.startswith("export.quantizers[0]: 95% of the weights are in convolutions")
    assert "Use int8-static" in message
    assert not conv_file.with_name("int8.onnx").exists()


def test_convolutional_student_is_refused_before_it_is_trained():
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Flatten(), nn.Linear(64, 8))
    with pytest.raises(ExportError) as caught:
        Int8Dynamic(DynamicConfig(), "export.quantizers[0]").check_network(network)
    assert str(caught.value).startswith("export.quantizers[0]: 77% of the weights are in convolutions")
    Int8Dynamic(DynamicConfig(convolutions=True), "q").check_network(network)


def test_transformer_with_a_patch_embedding_is_not_refused():
    Int8Dynamic(DynamicConfig(), "q").check_network(nn.Sequential(nn.Conv2d(3, 8, 4), nn.Linear(64, 64)))


def test_convolutions_are_quantised_on_demand_with_a_warning(conv_file, images, calibration, run, cosine):
    target, report = quantised(conv_file, images, calibration, convolutions=True)
    assert cosine(run(conv_file, images), run(target, images)) > 0.999
    assert "2 convolutions run as ConvInteger" in report.warnings[0]


def test_calibration_is_not_read(attention_file, tokens, calibration):
    source = calibration(tokens[:0])
    target = attention_file.with_name("int8.onnx")
    Int8Dynamic(DynamicConfig(), "q").quantize(attention_file, target, source)
    assert target.is_file()


def test_early_refusal_counts_transposed_convolutions_and_lets_other_matrices_through():
    quantizer = Int8Dynamic(DynamicConfig(), "q")
    with pytest.raises(ExportError, match="100% of the weights"):
        quantizer.check_network(nn.ConvTranspose2d(3, 8, 4))
    quantizer.check_network(nn.Sequential(nn.Conv2d(3, 8, 4), nn.MultiheadAttention(32, 4)))
