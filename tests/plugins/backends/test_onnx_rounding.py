"""Where products are int8: what the rules say of a graph, against the kernels that ONNX Runtime puts into it."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefw.contracts.quantizer import Calibration
from edgefw.plugins.backends.onnx_rounding import Rounding, has_signed_kernels
from edgefw.plugins.backends.onnx_work import work
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig

TYPES = {"u": np.uint8, "s": np.int8}
KERNELS = ("QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat")


class Graph:
    """Nodes and weights of a graph over (B, 8, 8, 8) images, added one by one; each gives the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, values) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes) -> str:
        name = f"{operator.lower()}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [f"{name}.out"], name=name, **attributes))
        return f"{name}.out"

    def rounded(self, name: str, kind: str, *between: str) -> str:
        """A pair around a tensor, of uint8 ("u") or int8 ("s"), with operators between its two halves."""
        step, zero = self.constant(np.float32(0.05)), self.constant(TYPES[kind](128 if kind == "u" else 0))
        name = self.node("QuantizeLinear", name, step, zero)
        for operator in between:
            name = self.node(operator, name, kernel_shape=[2, 2], strides=[2, 2])
        return self.node("DequantizeLinear", name, step, zero)

    def weight(self, *shape: int, kind: str = "s") -> str:
        values = np.random.default_rng(0).integers(1, 60, shape).astype(TYPES[kind])
        return self.node(
            "DequantizeLinear", self.constant(values), self.constant(np.float32(0.01)), self.constant(TYPES[kind](0))
        )

    def convolution(self, name: str, kind: str = "s") -> str:
        return self.node("Conv", name, self.weight(8, 8, 3, 3, kind=kind), pads=[1, 1, 1, 1])

    def row(self) -> str:
        """The image as (B, 8)."""
        return self.node("Flatten", self.node("GlobalAveragePool", "image"))

    def model(self, *outputs: str) -> onnx.ModelProto:
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 8, 8, 8])
        given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        made = helper.make_graph(self.nodes, "g", [image], given, self.weights)
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def kernels(model: onnx.ModelProto, folder, exact: bool) -> set[str]:
    """Names of the nodes that ONNX Runtime runs in int8, from the graph that it optimised; `exact` as edgefw opens files on x86."""
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath, settings.log_severity_level = str(folder / "optimised.onnx"), 3
    if exact:
        settings.add_session_config_entry("session.x64quantprecision", "1")
    onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    nodes = onnx.load(folder / "optimised.onnx").graph.node
    return {node.name.split("_token")[0] for node in nodes if node.op_type in KERNELS}


def agree(model: onnx.ModelProto, folder) -> set[str]:
    """Names of the int8 nodes, on which rules and runtime must agree."""
    counted = {node.name for node in work(model) if node.is_int8}
    assert kernels(model, folder, exact=False) == kernels(model, folder, exact=True) == counted
    return counted


def on_x86(found: object, expected: object) -> None:
    """What is so there; rules and runtime agree everywhere."""
    assert has_signed_kernels() or found == expected


@pytest.mark.parametrize("weights", ["u", "s"])
@pytest.mark.parametrize(("given", "written"), [*product("us", "us")])
def test_a_convolution_whose_pairs_have_one_reader_or_two(tmp_path, given, written, weights) -> None:
    found = []
    for shared_before, shared_after in product((False, True), repeat=2):
        graph = Graph()
        before = graph.rounded("image", given)
        after = graph.rounded(graph.convolution(before, weights), written)
        outputs = [graph.node("Relu", after)]
        outputs += [graph.node("Sigmoid", before)] if shared_before else []
        outputs += [graph.node("Sigmoid", after)] if shared_after else []
        found.append(len(agree(graph.model(*outputs), tmp_path)))
    on_x86(found[0], 1)
    on_x86(found[3], int((given, written) == ("u", "u")))


@pytest.mark.parametrize("kind", ["u", "s"])
def test_a_residual_of_int8_costs_its_convolutions_their_kernels_and_one_of_uint8_does_not(tmp_path, kind) -> None:
    graph = Graph()
    first = graph.rounded(graph.convolution(graph.rounded("image", kind)), kind)
    second = graph.rounded(graph.convolution(first), kind)
    found = agree(graph.model(graph.rounded(graph.node("Add", first, second), kind)), tmp_path)
    on_x86(len(found), 2 if kind == "u" else 0)


@pytest.mark.parametrize("kind", ["u", "s"])
def test_what_stands_between_the_halves_of_a_pair_keeps_int8_as_it_is(tmp_path, kind) -> None:
    graph = Graph()
    graph_out = graph.rounded(graph.convolution(graph.rounded("image", kind, "MaxPool")), kind)
    on_x86(len(agree(graph.model(graph_out), tmp_path)), int(kind == "u"))


@pytest.mark.parametrize("kind", ["u", "s"])
@pytest.mark.parametrize("operator", ["Conv", "MatMul", "Gemm"])
@pytest.mark.parametrize("readers", ["none", "rounding", "both"])
def test_a_product_that_stays_float_is_rounded_or_has_both_readers(tmp_path, kind, operator, readers) -> None:
    graph = Graph()
    if operator == "Conv":
        made = graph.convolution(graph.rounded("image", kind))
    else:
        made = graph.node(operator, graph.rounded(graph.row(), kind), graph.weight(8, 8))
    outputs = [] if readers == "none" else [graph.rounded(made, kind)]
    outputs += [graph.node("Sigmoid", made)] if readers != "rounding" else []
    found = agree(graph.model(*outputs), tmp_path)
    on_x86(bool(found), readers == "rounding" or (readers == "none" and operator != "Conv"))


@pytest.mark.parametrize("kind", ["u", "s"])
@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_a_matrix_product_whose_input_others_read(tmp_path, kind, operator) -> None:
    graph = Graph()
    given = graph.rounded(graph.row(), kind)
    made = graph.node(operator, given, graph.weight(8, 8))
    found = agree(graph.model(graph.node("Sigmoid", made), graph.node("Relu", given)), tmp_path)
    on_x86(bool(found), kind == "u" or operator == "Gemm")


@pytest.mark.parametrize("is_rounded", [True, False])
@pytest.mark.parametrize("bias", ["none", "float", "int32"])
def test_a_gemm_with_a_bias(tmp_path, bias, is_rounded) -> None:
    graph = Graph()
    inputs = [graph.rounded(graph.row(), "u"), graph.weight(8, 8)]
    if bias == "float":
        inputs.append(graph.constant(np.ones(8, np.float32)))
    elif bias == "int32":
        whole, step = graph.constant(np.ones(8, np.int32)), graph.constant(np.float32(0.05 * 0.01))
        inputs.append(graph.node("DequantizeLinear", whole, step, graph.constant(np.int32(0))))
    made = graph.node("Gemm", *inputs)
    found = agree(graph.model(graph.rounded(made, "u") if is_rounded else graph.node("Sigmoid", made)), tmp_path)
    assert bool(found) == (is_rounded or bias != "float")


@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_a_residual_network_that_our_quantizer_made(tmp_path, activation) -> None:
    torch = pytest.importorskip("torch")

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner, self.outer = (
                torch.nn.Conv2d(count, 16, 3, padding=1, groups=groups) for count, groups in ((3, 1), (16, 16), (16, 1))
            )
            self.head = torch.nn.Linear(16, 8)

        def forward(self, image):
            stem = torch.relu(self.stem(image))
            return self.head((stem + self.outer(torch.relu(self.inner(stem)))).mean((2, 3)))

    rows = torch.randn(4, 3, 16, 16)
    names = {"input_names": ["image"], "output_names": ["embedding"], "dynamic_axes": {"image": {0: "batch"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Residual().eval(), (rows,), str(tmp_path / "float.onnx"), dynamo=False, **names)
    calibration = Calibration(batches=lambda: iter([{"image": rows.numpy()}]), samples=4)
    quantizer = Int8Static(StaticConfig(activation=activation, operators="all"), "q")
    quantizer.quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx", calibration)
    found = agree(onnx.load(tmp_path / "int8.onnx"), tmp_path)
    assert found if activation == "uint8" else True


@pytest.mark.parametrize(("kind", "weights", "is_int8"), [("s", "s", True), ("s", "u", False), ("u", "s", True)])
def test_processors_with_signed_kernels_keep_int8_and_want_its_weights(kind, weights, is_int8) -> None:
    graph = Graph()
    first = graph.rounded("image", kind)
    after = graph.rounded(graph.convolution(first, weights), kind)
    model = graph.model(graph.node("Sigmoid", first), graph.node("Relu", after), graph.node("Sigmoid", after))
    (convolution,) = [node for node in model.graph.node if node.op_type == "Conv"]
    assert Rounding(model, signed=True).surrounds(convolution) == is_int8


def test_processors_with_signed_kernels_do_not_turn_types_into_each_other() -> None:
    graph = Graph()
    model = graph.model(graph.rounded(graph.convolution(graph.rounded("image", "u")), "s"))
    (convolution,) = [node for node in model.graph.node if node.op_type == "Conv"]
    assert not Rounding(model, signed=True).surrounds(convolution)
    assert Rounding(model, signed=False).surrounds(convolution)
