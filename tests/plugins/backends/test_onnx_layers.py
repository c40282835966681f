"""Layers of ONNX files: each output is what NumPy computes, int8 pairs stand for their tensor, a wrong scale is named."""

from __future__ import annotations

import importlib
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgefw.errors import ExportError
from edgefw.plugins.backends.onnx_layers import layer_outputs
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.departure import FLOAT_LIMIT, ROUNDED_LIMIT, departures, first

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def files(tmp_path_factory, small_bundle):
    """The float and the int8 file of the small encoder: a convolution, an average, a matrix."""
    with open_bundle(small_bundle.write_small_bundle(tmp_path_factory.mktemp("layers") / "bundle")) as bundle:
        return {entry.precision: bundle.file(entry) for entry in bundle.manifest.artefacts}


@pytest.fixture(scope="module")
def feeds(small_bundle):
    contract = small_bundle.Rgb(small_bundle.RgbConfig()).preprocessing(small_bundle.INPUT)
    rows = [contract(small_bundle.picture(colour, 7)) for colour in small_bundle.COLOURS.values()]
    return {"image": np.stack(rows)}


@pytest.fixture
def faults(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "backends"))
    return importlib.import_module("graph_faults")


def changed(file, change, target):
    model = onnx.load(file)
    name = change(model)
    onnx.save(model, target)
    return name


def computed(view):
    return dict(zip((layer.tensor for layer in view.layers), view.values(), strict=True))


def graph(target, nodes, stored=(), inputs=("image",), output="embedding"):
    """A file of nodes on images of 2 x 3 numbers."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 2, 3]) for name in inputs],
            [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(values), name) for name, values in stored],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.save(model, target)
    return target


IMAGES = {"image": np.arange(24, dtype=np.float32).reshape(4, 2, 3) - 5}


def test_the_last_layers_are_what_numpy_computes(files, feeds):
    view = layer_outputs(files["fp32"], feeds)
    operators, values = {layer.tensor: layer.operator for layer in view.layers}, computed(view)
    assert [operators[name] for name in ("image", "a", "b", "c", "embedding")] == [
        "Input", "Conv", "GlobalAveragePool", "Flatten", "Gemm"
    ]  # fmt: skip
    mix = next(own for own in onnx.load(files["fp32"]).graph.initializer if own.name == "mix")
    pooled = values["a"].mean((2, 3))
    np.testing.assert_allclose(values["c"], pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(values["embedding"], pooled @ numpy_helper.to_array(mix).T, rtol=1e-4, atol=1e-4)


def test_the_file_on_disk_stays_as_it_is(files, feeds):
    before = files["fp32"].read_bytes()
    computed(layer_outputs(files["fp32"], feeds))
    assert files["fp32"].read_bytes() == before


def test_no_layer_of_a_right_int8_file_is_blamed(files, feeds):
    rows = departures(layer_outputs(files["fp32"], feeds), layer_outputs(files["int8-static"], feeds))
    assert any(row.operator == "DequantizeLinear" for row in rows)
    assert first(rows, ROUNDED_LIMIT) is None
    assert max(row.error for row in rows) > FLOAT_LIMIT


@pytest.mark.parametrize(("precision", "fault", "limit"), [
    ("fp32", "scaled_by_2", FLOAT_LIMIT),
    ("int8-static", "int8_weight_scale", ROUNDED_LIMIT),
    ("int8-static", "int8_activation_scale", ROUNDED_LIMIT),
])  # fmt: skip
def test_the_wrong_layer_is_named(files, feeds, faults, tmp_path, precision, fault, limit):
    name = changed(files[precision], getattr(faults, fault), tmp_path / "wrong.onnx")
    rows = departures(layer_outputs(files["fp32"], feeds), layer_outputs(tmp_path / "wrong.onnx", feeds))
    blamed = first(rows, limit)
    assert blamed is not None
    assert blamed.layer == name
    assert blamed.own == pytest.approx(1.0, abs=0.1)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match="its layers cannot be looked at"):
        OnnxRuntimeBackend(OnnxRuntimeConfig()).layers(tmp_path / "bad.onnx", {"image": np.zeros((1, 3, 16, 16))})


def test_a_node_that_does_not_run_is_told(tmp_path):
    file = graph(tmp_path / "m.onnx", [helper.make_node("Reshape", ["image", "five"], ["embedding"])], [("five", [5])])
    with pytest.raises(ExportError, match="its layers cannot be looked at"):
        computed(layer_outputs(file, IMAGES))


def test_every_output_is_shown(tmp_path):
    nodes = [
        helper.make_node("Split", ["image"], ["left", "right"], name="split", axis=1, num_outputs=2),
        helper.make_node("TopK", ["right", "one"], ["most", "place"], name="top"),
        helper.make_node("Cast", ["place"], ["embedding"], name="cast", to=onnx.TensorProto.FLOAT),
    ]
    view = layer_outputs(graph(tmp_path / "m.onnx", nodes, [("one", np.array([1], np.int64))]), IMAGES)
    assert [(layer.layer, layer.tensor) for layer in view.layers[1:]] == [
        ("split", "left"), ("split", "right"), ("top", "most"), ("top", "place"), ("cast", "embedding")
    ]  # fmt: skip
    values = computed(view)
    np.testing.assert_array_equal(values["right"], IMAGES["image"][:, 1:])
    assert values["place"] is None
    assert (values["embedding"] == 2).all()


def test_an_output_that_is_left_out_is_no_layer(tmp_path):
    node = helper.make_node("RNN", ["image", "weight", "again"], ["", "embedding"], name="rnn", hidden_size=5)
    weight = np.random.default_rng(0).normal(size=(1, 5, 3)).astype(np.float32)
    stored = [("weight", weight), ("again", np.zeros((1, 5, 5), np.float32))]
    view = layer_outputs(graph(tmp_path / "m.onnx", [node], stored), IMAGES)
    assert [layer.tensor for layer in view.layers] == ["image", "embedding"]
    expected = np.tanh(IMAGES["image"][-1] @ weight[0].T)
    np.testing.assert_allclose(computed(view)["embedding"][0], expected, rtol=1e-5)


def test_an_optional_input_that_is_left_out_is_no_tensor(tmp_path):
    node = helper.make_node("Clip", ["image", "", "high"], ["embedding"], name="clip")
    view = layer_outputs(graph(tmp_path / "m.onnx", [node], [("high", np.float32(3))]), IMAGES)
    assert view.layers[1].inputs == ("image", "high")
    np.testing.assert_array_equal(computed(view)["embedding"], IMAGES["image"].clip(None, 3))


def test_sizes_and_constants_are_no_layers(tmp_path):
    nodes = [
        helper.make_node("Shape", ["image"], ["sizes"]),
        helper.make_node("Cast", ["sizes"], ["numbers"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceProd", ["numbers"], ["count"], keepdims=0),
        helper.make_node("Neg", ["two"], ["minus"]),
        helper.make_node("Mul", ["count", "minus"], ["factor"]),
        helper.make_node("Mul", ["image", "factor"], ["embedding"]),
    ]
    view = layer_outputs(graph(tmp_path / "m.onnx", nodes, [("two", np.float32(2))]), IMAGES)
    assert [layer.tensor for layer in view.layers] == ["image", "embedding"]
    np.testing.assert_array_equal(computed(view)["embedding"], IMAGES["image"] * -48)


def test_branches_read_what_lies_around_them_and_lists_are_handed_on(tmp_path):
    inner = [onnx.ValueInfoProto(name="inner")]
    then = helper.make_graph([helper.make_node("Mul", ["right", "two"], ["inner"])], "then", [], inner)
    other = helper.make_graph([helper.make_node("Neg", ["right"], ["inner"])], "other", [], inner)
    nodes = [
        helper.make_node("SplitToSequence", ["image", "one"], ["parts"], axis=1),
        helper.make_node("SequenceAt", ["parts", "one"], ["right"]),
        helper.make_node("If", ["yes"], ["embedding"], name="if", then_branch=then, else_branch=other),
    ]
    stored = [("one", np.int64(1)), ("two", np.float32(2)), ("yes", np.array(True))]
    view = layer_outputs(graph(tmp_path / "m.onnx", nodes, stored), IMAGES)
    assert view.layers[-1].inputs == ("yes", "right", "two")
    np.testing.assert_array_equal(computed(view)["embedding"], 2 * IMAGES["image"][:, 1:])


def test_what_is_sent_back_is_what_later_nodes_read(tmp_path):
    nodes = [helper.make_node("Neg", ["image"], ["a"]), helper.make_node("Exp", ["a"], ["embedding"])]
    stream = layer_outputs(graph(tmp_path / "m.onnx", nodes), IMAGES).values()
    next(stream)
    np.testing.assert_array_equal(stream.send(np.ones((4, 2, 3))), -1 * np.ones((4, 2, 3)))
    np.testing.assert_array_equal(stream.send(np.zeros((4, 2, 3))), np.ones((4, 2, 3)))


def test_memory_does_not_grow_with_the_depth_of_a_graph(tmp_path):
    names = ["image", *(f"t{at}" for at in range(60)), "embedding"]
    nodes = [helper.make_node("Sin", [before], [after]) for before, after in pairwise(names)]
    file, rows = graph(tmp_path / "m.onnx", nodes), {"image": np.ones((20_000, 2, 3), np.float32)}
    tracemalloc.start()
    found = departures(layer_outputs(file, rows), layer_outputs(file, rows))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 62
    assert peak < 40 * rows["image"].nbytes
