"""GELU's ½ as last factor: which graphs are changed, that they compute the same, and what ONNX Runtime makes of them."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgefw.contracts.backend import CompileRequest
from edgefw.plugins.backends.onnx_gelu import multiply_by_half_last
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig

STORED = {"root": 2**0.5, "one": 1.0, "half": 0.5}
SHAPE = (2, 3, 4)


def written(file, *, swapped=(False,) * 3, inner="image", ends=("y",), constant_nodes=False):
    """x · (½ · (1 + erf(x / √2))) with both orders of each pair of factors, as a file."""

    def pair(place, one, other):
        return [other, one] if swapped[place] else [one, other]

    nodes = [
        helper.make_node("Identity", ["image"], ["other"]),
        helper.make_node("Div", [inner, "root"], ["scaled"]),
        helper.make_node("Erf", ["scaled"], ["erf"]),
        helper.make_node("Add", pair(0, "erf", "one"), ["sum"]),
        helper.make_node("Mul", pair(1, "half", "sum"), ["halved"]),
        helper.make_node("Mul", pair(2, "image", "halved"), ["y"]),
    ]
    tensors = [numpy_helper.from_array(np.float32(value), name) for name, value in STORED.items()]
    if constant_nodes:
        nodes = [helper.make_node("Constant", [], [own.name], value=own) for own in tensors] + nodes
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("image", *ends)]
    graph = helper.make_graph(nodes, "gelu", infos[:1], infos[1:], [] if constant_nodes else tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    return file


def opened(file, folder):
    """What a file gives, and the operators that ONNX Runtime runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 3, str(folder / "opened.onnx")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    values = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    given = session.run(None, {session.get_inputs()[0].name: values})
    return values, given, {node.op_type for node in onnx.load(folder / "opened.onnx").graph.node}


@pytest.mark.parametrize("swapped", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("constant_nodes", [False, True])
def test_every_order_becomes_one_node_and_gives_the_same(tmp_path, swapped, constant_nodes):
    file = written(tmp_path / "gelu.onnx", swapped=swapped, constant_nodes=constant_nodes)
    assert "Gelu" not in opened(file, tmp_path)[2]
    assert multiply_by_half_last(file) == 1
    values, (given,), operators = opened(file, tmp_path)
    assert operators == {"Gelu"}
    np.testing.assert_allclose(given, torch.nn.functional.gelu(torch.from_numpy(values)).numpy(), atol=1e-6)
    onnx.checker.check_model(onnx.load(file))
    assert multiply_by_half_last(file) == 0  # it is in order now


@pytest.mark.parametrize(
    ("why", "graph"),
    [("another tensor goes in", {"inner": "other"}), ("the half is an output", {"ends": ("y", "halved")})],
)
def test_other_graphs_stay_as_they_are(tmp_path, why, graph):
    file = written(tmp_path / "gelu.onnx", **graph)
    before = file.read_bytes()
    assert multiply_by_half_last(file) == 0, why
    assert file.read_bytes() == before


class Perceptron(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.GELU(), nn.Linear(32, 8))

    def forward(self, image):
        return self.layers(image)


@pytest.mark.parametrize("exporter", ["dynamo", "legacy"])
def test_an_exported_gelu_is_one_node(tmp_path, exporter):
    torch.manual_seed(0)
    images = np.random.default_rng(0).normal(size=(3, 3, 4, 4)).astype(np.float32)
    request = CompileRequest(
        network=Perceptron().eval(), inputs={"image": (3, 4, 4)}, folder=tmp_path, examples={"image": images}
    )
    artefact = OnnxRuntimeBackend(OnnxRuntimeConfig(exporter=exporter)).compile(request)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "opened.onnx")
    onnxruntime.InferenceSession(str(artefact.file), options, providers=["CPUExecutionProvider"])
    assert {node.op_type for node in onnx.load(tmp_path / "opened.onnx").graph.node} >= {"Gelu"}
