"""Layers of OpenVINO files: each is what ONNX Runtime gives for the tensor of that name; a wrong one is named, in int8 files too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from blamed_files import NETWORKS, Files, doubled, exported
from onnx import TensorProto, helper, numpy_helper
from small_networks import ConvNet, pixels, request, settled

from edgefw.contracts.backend import LayerShower
from edgefw.contracts.quantizer import Calibration
from edgefw.errors import ExportError
from edgefw.plugins.backends import onnx_layers
from edgefw.plugins.backends.one_file import join_files, read_parts
from edgefw.plugins.backends.openvino import PARTS, OpenVinoBackend, OpenVinoConfig
from edgefw.plugins.backends.openvino_layers import layer_outputs
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.runtime.departure import FLOAT_LIMIT, ROUNDED_LIMIT, departures, first

openvino = pytest.importorskip("openvino")
BACKEND = OpenVinoBackend(OpenVinoConfig(threads=1, exporter="legacy"))


def ir(source: Path, folder: Path) -> Path:
    """An ONNX file as the backend's own kind of file; nothing is compared."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = folder / PARTS[0]
    openvino.save_model(openvino.Core().read_model(str(source)), str(graph), compress_to_fp16=False)
    return join_files(folder / "model.ir.zip", {name: graph.with_name(name) for name in PARTS})


@dataclass
class Converted:
    """The IR of a float and of an int8 ONNX file, and images."""

    onnx: Files
    float: Path
    int8: Path

    def rows(self, other: Path):
        feeds = self.onnx.feeds
        return departures(BACKEND.layers(self.float, feeds), BACKEND.layers(other, feeds))


def clamped(folder: Path) -> Files:
    """A network of convolutions and clamps, whose int8 file rounds behind the clamps."""
    network = settled(ConvNet())
    artefact = BACKEND.compile(request(network, folder, keep_onnx=True))
    calibration = Calibration(batches=lambda: iter([{"image": pixels(12, 3)}]), samples=12)
    Int8Static(StaticConfig(), "q").quantize(artefact.onnx, folder / "int8.onnx", calibration)
    return Files(float=artefact.onnx, int8=folder / "int8.onnx", feeds={"image": pixels(4, 2)})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Converted when first asked for, by name."""
    made: dict[str, Converted] = {}

    def of(name: str) -> Converted:
        if name not in made:
            folder = tmp_path_factory.mktemp("files")
            own = clamped(folder) if name == "convolutions" else exported(*NETWORKS[name], folder)
            made[name] = Converted(own, ir(own.float, folder / "float"), ir(own.int8, folder / "int8"))
        return made[name]

    return of


EVERY = ["convolutions", *NETWORKS]


def test_the_backend_shows_its_layers():
    assert isinstance(BACKEND, LayerShower)


@pytest.mark.parametrize("name", EVERY)
def test_each_layer_is_what_onnx_runtime_gives_for_the_tensor_of_that_name(files, name):
    own = files(name)
    theirs = onnx_layers.layer_outputs(own.onnx.float, own.onnx.feeds)
    expected = dict(zip((layer.tensor for layer in theirs.layers), theirs.values(), strict=True))
    view = BACKEND.layers(own.float, own.onnx.feeds)
    found = dict(zip((layer.tensor for layer in view.layers), view.values(), strict=True))
    weighted = [node.output[0] for node in onnx.load(own.onnx.float).graph.node if node.op_type in ("Conv", "MatMul")]
    assert {"image", "embedding", *weighted} <= set(found) & set(expected)
    for tensor in set(found) & set(expected):
        np.testing.assert_allclose(found[tensor], expected[tensor], rtol=2e-3, atol=2e-4, err_msg=tensor)


@pytest.mark.parametrize("name", EVERY)
def test_right_files_have_no_layer_to_blame(files, name):
    own = files(name)
    assert max(row.error for row in own.rows(own.float)) == 0.0
    rounded = own.rows(own.int8)
    assert first(rounded, ROUNDED_LIMIT) is None
    assert any(row.operator == "DequantizeLinear" for row in rounded)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("tokens first", "/k/MatMul"), ("tokens first", "/proj/MatMul"), ("vit", "/blocks/blocks.0/mlp/fc2/MatMul")],
)
def test_a_doubled_layer_is_named_and_no_other_one(files, tmp_path, name, layer):
    own = files(name)
    rows = own.rows(ir(doubled(own.onnx.float, layer, tmp_path / "wrong.onnx"), tmp_path / "ir"))
    (blamed,) = (row for row in rows if row.own > FLOAT_LIMIT)
    assert blamed.tensor == next(n for n in onnx.load(own.onnx.float).graph.node if n.name == layer).output[0]
    assert blamed.own == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("name", "layer"), [
    ("tokens first", "/v/MatMul"),
    ("tokens first", "/norm1/LayerNormalization_output_0_DequantizeLinear"),
    ("vit", "/blocks/blocks.0/attn/proj/MatMul_output_0_DequantizeLinear"),
])  # fmt: skip
def test_an_int8_scale_off_by_2_is_named_and_no_other_layer(files, tmp_path, name, layer):
    own = files(name)
    rows = own.rows(ir(doubled(own.onnx.int8, layer, tmp_path / "wrong.onnx"), tmp_path / "ir"))
    (blamed,) = (row for row in rows if row.own > ROUNDED_LIMIT)
    assert blamed.tensor == next(n for n in onnx.load(own.onnx.int8).graph.node if n.name == layer).output[0]


def test_images_of_another_size_are_an_export_error_with_one_line(files):
    own = files("vit")
    with pytest.raises(ExportError, match="its layers cannot be looked at") as raised:
        list(BACKEND.layers(own.float, {"image": pixels(1, 0, 24)}).values())
    assert "\n" not in str(raised.value)


def test_images_under_another_name_are_an_export_error(files):
    with pytest.raises(ExportError, match="its layers cannot be looked at"):
        BACKEND.layers(files("vit").float, {"depth": pixels(1, 0)})


def saved(folder: Path, nodes, stored=(), result=("y", None)) -> Path:
    """The IR of nodes on "x", images of 4 numbers each."""
    shapes = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])]
    ends = [helper.make_tensor_value_info(result[0], TensorProto.FLOAT, result[1])]
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in stored]
    graph = helper.make_graph(nodes, "test", shapes, ends, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "m.onnx")
    return ir(folder / "m.onnx", folder / "ir")


ROWS = {"x": np.arange(12, dtype=np.float32).reshape(3, 4) - 5}


def test_a_number_without_dimensions_is_passed_on(tmp_path):
    nodes = [helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0), helper.make_node("Div", ["x", "most"], ["y"])]
    view = BACKEND.layers(saved(tmp_path, nodes), ROWS)
    found = dict(zip((layer.tensor for layer in view.layers), view.values(), strict=True))
    assert found["most"].shape == () and float(found["most"]) == 6.0
    np.testing.assert_allclose(found["y"], ROWS["x"] / 6.0, rtol=1e-6)


def test_two_roundings_in_a_row_stand_for_what_went_into_the_first(tmp_path):
    nodes, name = [], "x"
    for at in (1, 2):
        nodes.append(helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"q{at}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{at}", "scale", "zero"], [name := f"d{at}"]))
    nodes.append(helper.make_node("MatMul", [name, "w"], ["y"]))
    stored = [("scale", np.float32(0.1)), ("zero", np.uint8(128)), ("w", np.eye(4, dtype=np.float32))]
    view = BACKEND.layers(saved(tmp_path, nodes, stored), ROWS)
    assert {layer.tensor: layer.stands_for for layer in view.layers} == {"x": "x", "d1": "x", "d2": "x", "y": "y"}
    assert [layer.operator for layer in view.layers] == ["Input", "DequantizeLinear", "DequantizeLinear", "MatMul"]


def test_a_rounded_embedding_stands_for_the_embedding(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["before"])]
    nodes.append(helper.make_node("QuantizeLinear", ["before", "scale", "zero"], ["q"]))
    nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]))
    stored = [("scale", np.float32(0.1)), ("zero", np.uint8(128)), ("w", np.eye(4, dtype=np.float32))]
    view = BACKEND.layers(saved(tmp_path, nodes, stored), ROWS)
    assert {layer.tensor: layer.stands_for for layer in view.layers} == {"x": "x", "before": "y", "y": "y"}


def test_a_layer_with_a_bias_is_called_after_its_product(files):
    view = BACKEND.layers(files("convolutions").float, files("convolutions").onnx.feeds)
    assert "Convolution" in {layer.operator for layer in view.layers}
    assert {layer.operator for layer in view.layers if layer.tensor == "embedding"} == {"MatMul"}


def test_who_go_through_the_layers_side_by_side_compile_each_once(files):
    own, compiled = files("vit"), []
    core = openvino.Core()
    graph, weights = read_parts(own.float, PARTS)

    def counted(part):
        compiled.append(part)
        return core.compile_model(part, "CPU", {"INFERENCE_NUM_THREADS": 1})

    view = layer_outputs(own.float, core.read_model(graph, weights), counted, own.onnx.feeds)
    for one, other in zip(view.values(), view.values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(compiled) == len(view.layers) - 1
