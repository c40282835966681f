"""Multiply-accumulates: by hand, and against what PyTorch counts while it runs the same network."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefw.plugins.backends.onnx_work import int8_share, shapes, work

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
nn = torch.nn


def graph(nodes: list, weights: dict[str, np.ndarray], shape: list, out: list | None = None) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "g",
        [info("image", TensorProto.FLOAT, shape)],
        [info("embedding", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def exported(module, image, path: Path, dynamo: bool = False) -> onnx.ModelProto:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (image,),
            str(path),
            dynamo=dynamo,
            input_names=["image"],
            output_names=["embedding"],
            **({} if dynamo else {"dynamic_axes": {"image": {0: "batch"}}}),
        )
    return onnx.load(path)


class Convolutions(nn.Module):
    """Plain, strided, depthwise, grouped, dilated and transposed convolutions, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 5, padding=2, groups=16),
            nn.Conv2d(16, 32, 1),
            nn.Conv2d(32, 24, 3, padding=2, dilation=2, groups=4),
            nn.ConvTranspose2d(24, 8, 2, stride=2),
        )
        self.head = nn.Linear(8, 10)

    def forward(self, image):
        return self.head(self.body(image).mean((2, 3)))


def counted_by_hooks(module, image) -> list[int]:
    """Products of each convolution and linear layer for one image, from what goes in and comes out."""
    found: list[int] = []

    def hook(layer, inputs, output) -> None:
        if isinstance(layer, nn.ConvTranspose2d):
            found.append(inputs[0][0].numel() * layer.weight[0].numel())
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            found.append(output[0].numel() * layer.weight[0].numel())

    handles = [layer.register_forward_hook(hook) for layer in module.modules()]
    with torch.no_grad():
        module.eval()(image)
    for handle in handles:
        handle.remove()
    return found


def counted_by_torch(module, image) -> int:
    """Half the floating-point operations that PyTorch's own counter sees: products of two activations too."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(image)
    return counter.get_total_flops() // 2


def test_products_of_a_convolution_and_a_matrix_by_hand() -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"], name="pool"),
        helper.make_node("Flatten", ["b"], ["c"], name="flatten"),
        helper.make_node("Gemm", ["c", "m"], ["embedding"], name="head", transB=1),
    ]
    model = graph(nodes, {"w": zeros(16, 3, 3, 3), "m": zeros(8, 16)}, ["batch", 3, 16, 16], ["batch", 8])
    found = {node.name: node.macs for node in work(model)}
    assert found == {"conv": 16 * 8 * 8 * 3 * 3 * 3, "head": 16 * 8}
    assert shapes(model)["a"] == (1, 16, 8, 8)


def test_each_layer_of_a_convolutional_network_counts_as_hooks_count(tmp_path) -> None:
    network, image = Convolutions(), torch.randn(2, 3, 32, 32)
    found = work(exported(network, image, tmp_path / "c.onnx"))
    expected = counted_by_hooks(network, image)
    assert [node.macs for node in found] == expected
    assert sum(expected) == counted_by_torch(network, image[:1])
    assert not any(node.is_int8 for node in found)


@pytest.mark.parametrize("fused", [False, True])
def test_a_vision_transformer_counts_attention_as_torch_does(tmp_path, fused) -> None:
    network, image = timm.create_model("test_vit", num_classes=0, img_size=64), torch.randn(2, 3, 64, 64)
    for block in network.blocks:
        block.attn.fused_attn = fused
    found = work(exported(network, image, tmp_path / "v.onnx"))
    total = sum(node.macs for node in found)
    assert total == counted_by_torch(network, image[:1])
    assert total > sum(counted_by_hooks(network, image))  # hooks do not see attention's own products


def test_an_unknown_shape_is_unknown_and_not_nothing(tmp_path) -> None:
    nodes = [helper.make_node("Conv", ["image", "w"], ["embedding"], name="conv")]
    model = graph(nodes, {"w": zeros(4, 3, 3, 3)}, ["batch", 3, "height", 16])
    onnx.save(model, tmp_path / "m.onnx")
    assert work(model) is None
    assert int8_share(tmp_path / "m.onnx") is None


def test_a_graph_without_products_has_no_share(tmp_path) -> None:
    onnx.save(
        graph([helper.make_node("Relu", ["image"], ["embedding"])], {}, ["batch", 4], ["batch", 4]), tmp_path / "m"
    )
    assert int8_share(tmp_path / "m") == 0.0


def pairs(clamp: list, zero: int = 0, scale: float = 0.1, element: type = np.uint8) -> onnx.ModelProto:
    """A convolution between pairs, and what stands between it and its rounding."""
    weights = {
        "w": np.ones((2, 3, 1, 1), np.int8), "one": np.array(0.1, np.float32), "scale": np.array(scale, np.float32),
        "zero": np.array(zero, element), "none": np.array(0, np.int8), "low": np.array(0, np.float32), "high": np.array(6, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "one", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "one", "none"], ["dw"]),
        helper.make_node("Conv", ["d", "dw"], ["c"], name="conv"),
        *clamp,
        helper.make_node("QuantizeLinear", ["r" if clamp else "c", "scale", "zero"], ["q2"]),
        helper.make_node("DequantizeLinear", ["q2", "scale", "zero"], ["embedding"]),
    ]
    return graph(nodes, weights, ["batch", 3, 4, 4], ["batch", 2, 4, 4])


RELU = [helper.make_node("Relu", ["c"], ["r"], name="relu")]
CLIP = [helper.make_node("Clip", ["c", "low", "high"], ["r"], name="clip")]
SIGMOID = [helper.make_node("Sigmoid", ["c"], ["r"], name="sigmoid")]


@pytest.mark.parametrize(
    ("clamp", "options", "is_int8"),
    [
        ([], {}, True),
        (RELU, {}, True),
        (RELU, {"zero": 20}, False),  # values below zero would be kept: the Relu cannot fall away
        (RELU, {"element": np.int8}, False),
        (CLIP, {"scale": 6 / 255}, True),
        (CLIP, {"scale": 0.1}, False),  # rounding keeps up to 25.5, the Clip up to 6
        (SIGMOID, {}, False),
    ],
)
def test_a_convolution_is_int8_where_onnxruntime_runs_it_so(tmp_path, clamp, options, is_int8) -> None:
    import onnxruntime

    model = pairs(clamp, **options)
    assert [node.is_int8 for node in work(model)] == [is_int8]
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath, settings.log_severity_level = str(tmp_path / "fused.onnx"), 3
    onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    operators = {node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node}
    assert ("QLinearConv" in operators) == is_int8


def test_sixteen_bit_pairs_are_not_int8() -> None:
    model = pairs([])
    for entry in model.graph.initializer:
        if entry.name == "zero":
            entry.CopyFrom(numpy_helper.from_array(np.array(0, np.uint16), "zero"))
    model.opset_import[0].version = 21
    assert [node.is_int8 for node in work(model)] == [False]
