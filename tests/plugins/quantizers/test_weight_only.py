"""Weight-only: stored numbers against NumPy, what is left in float, sizes, and what is refused."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefw.errors import ExportError
from edgefw.plugins.quantizers.stored_weights import rounded, shrink_weights, weighted_products
from edgefw.plugins.quantizers.weight_only import WeightOnly, WeightOnlyConfig


def quantised(source, values, calibration, **options):
    target = source.with_name("small.onnx")
    report = WeightOnly(WeightOnlyConfig(**options), "export.quantizers[0]").quantize(
        source, target, calibration(values)
    )
    return target, report


def initialisers(path) -> dict[str, np.ndarray]:
    return {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}


def affine_blocks(matrix: np.ndarray, block: int, levels: int) -> np.ndarray:
    """Rounding of (K, N) to levels + 1 numbers in blocks along K, column by column, as the definition says."""
    found = np.empty_like(matrix)
    for start in range(0, len(matrix), block):
        for column in range(matrix.shape[1]):
            part = matrix[start : start + block, column]
            low, high = min(part.min(), 0.0), max(part.max(), 0.0)
            scale = np.float32((high - low) / levels)
            zero = np.clip(np.rint(-low / scale), 0, levels)
            numbers = np.clip(np.rint(part / scale) + zero, 0, levels)
            found[start : start + block, column] = scale * (numbers - zero)
    return found


def test_file_shrinks_and_answers_stay(conv_file, images, calibration, run, cosine):
    target, report = quantised(conv_file, images, calibration)
    assert cosine(run(conv_file, images), run(target, images)) > 0.9995
    assert target.stat().st_size < 0.4 * conv_file.stat().st_size
    assert report.details["dequantized_weights"] == 3
    assert report.details["packed_matrices"] == 0


def with_weights(source, target, change):
    """The graph with every matrix and kernel replaced."""
    model = onnx.load(source)
    for entry in model.graph.initializer:
        if len(entry.dims) > 1:
            entry.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(entry)), entry.name))
    onnx.save(model, target)
    return target


def symmetric(values: np.ndarray, axis: int) -> np.ndarray:
    """Int8 rounding with one step per index of an axis."""
    rows = np.moveaxis(values, axis, 0)
    scale = np.abs(rows).reshape(len(rows), -1).max(axis=1).reshape(-1, *[1] * (values.ndim - 1)) / 127
    return np.moveaxis((np.rint(rows / scale) * scale).astype(np.float32), 0, axis)


def test_answers_are_those_of_the_float_graph_with_rounded_weights(conv_file, images, calibration, run, tmp_path):
    by_hand = with_weights(conv_file, tmp_path / "by_hand.onnx", lambda values: symmetric(values, 0))
    target, _ = quantised(conv_file, images, calibration)
    np.testing.assert_allclose(run(target, images), run(by_hand, images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_error_of_a_weight_is_at_most_half_a_step(axis):
    values = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    values[2] = 0.0
    numbers, scales = rounded(values, axis)
    shape = [1, 1, 1]
    shape[axis] = -1
    steps = scales.reshape(shape)
    assert (np.abs(numbers * steps - values) <= steps / 2 * (1 + 1e-5)).all()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [16, 32])
def test_blocks_equal_the_definition_and_activations_stay_float(
    attention_file, tokens, calibration, run, bits, block, tmp_path
):
    target, report = quantised(attention_file, tokens, calibration, bits=bits, block=block)
    assert report.details["packed_matrices"] == 4
    by_hand = with_weights(
        attention_file, tmp_path / "by_hand.onnx", lambda own: affine_blocks(own, block, 2**bits - 1)
    )
    np.testing.assert_allclose(run(target, tokens), run(by_hand, tokens), rtol=1e-5, atol=1e-6)


def test_products_of_activations_have_no_weights(attention_file, tokens, calibration, run, cosine):
    target, report = quantised(attention_file, tokens, calibration)
    assert report.details["packed_matrices"] == 4
    operators = [node.op_type for node in onnx.load(target).graph.node]
    assert operators.count("MatMul") == 2
    assert cosine(run(attention_file, tokens), run(target, tokens)) > 0.9995


def test_excluded_nodes_keep_their_weights(conv_file, images, calibration):
    target, report = quantised(conv_file, images, calibration, exclude=["bo*"])
    assert "w2" in initialisers(target)
    assert "w1_int8" in initialisers(target)
    assert report.details["dequantized_weights"] == 2


def test_weight_that_two_layers_read_is_stored_once_and_only_if_both_agree(tmp_path):
    rng = np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(rng.normal(size=(32, 32)).astype(np.float32), "w")
    info = onnx.helper.make_tensor_value_info

    def shrunk(transposed: int) -> list[str]:
        nodes = [onnx.helper.make_node("Gemm", ["image", "w"], ["a"], "one", transB=1)]
        nodes.append(onnx.helper.make_node("Gemm", ["a", "w"], ["b"], "two", transB=transposed))
        ends = [info("image", 1, ["n", 32])], [info("b", 1, ["n", 32])]
        model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", *ends, [weight]))
        return shrink_weights(model, set())

    assert shrunk(1) == ["w"]
    assert shrunk(0) == []


def test_4_bits_without_a_matrix_product_are_refused(conv_file, images, calibration):
    with pytest.raises(ExportError, match=r"export.quantizers\[0\].bits: 4 bits are for MatMul"):
        quantised(conv_file, images, calibration, bits=4)


def test_graph_without_weights_is_refused(conv_file, images, calibration):
    with pytest.raises(ExportError, match="no weights to shrink"):
        quantised(conv_file, images, calibration, exclude=["*"])


def test_file_that_is_no_model_is_refused(tmp_path, images, calibration):
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ExportError, match="cannot be read as ONNX"):
        quantised(tmp_path / "broken.onnx", images, calibration)


def test_calibration_is_not_read(conv_file, images, calibration):
    quantised(conv_file, images[:0], calibration)


def test_small_matrices_stay_float():
    info = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("MatMul", ["image", "w"], ["a"], "small")]
    weight = onnx.numpy_helper.from_array(np.ones((5, 51), np.float32), "w")
    graph = onnx.helper.make_graph(nodes, "g", [info("image", 1, ["n", 5])], [info("a", 1, ["n", 51])], [weight])
    assert weighted_products(onnx.helper.make_model(graph)) == []


def test_blocks_without_a_matrix_product_are_refused(conv_file, attention_file, tokens, images, calibration):
    with pytest.raises(
        ExportError, match=r"^export.quantizers\[0\].block: blocks of 64 are for MatMul, and the graph has none"
    ):
        quantised(conv_file, images, calibration, block=64)
    assert quantised(attention_file, tokens, calibration, block=64)[0].is_file()
