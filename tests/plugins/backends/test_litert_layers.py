"""Layers of LiteRT files: each is what PyTorch or NumPy gives, the last what the runner answers; a wrong one is named."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from branched import branched, in_torch, wrong
from small_networks import TwoSensors, pixels, request, settled

from edgefw.contracts.backend import LayerShower
from edgefw.errors import ExportError
from edgefw.own_environment import own_environment
from edgefw.plugins.backends.litert import LiteRtBackend, LiteRtConfig
from edgefw.runtime.departure import FLOAT_LIMIT, departures, first

pytest.importorskip("ai_edge_litert")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
tflite_files = pytest.importorskip("tflite_files")
BACKEND = LiteRtBackend(LiteRtConfig(threads=1))
FEEDS = {"image": pixels(4, 2)}
ROWS = {"image": np.arange(24, dtype=np.float32).reshape(3, 1, 2, 4) - 5}
UNSEEN = "its layers cannot be looked at"


def compiled(network, folder):
    if not own_environment("litert").ready:
        pytest.skip("edgefw doctor --make litert was not run")
    folder.mkdir(parents=True, exist_ok=True)
    return BACKEND.compile(request(network, folder)).file


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return compiled(branched(), tmp_path_factory.mktemp("litert"))


def computed(view):
    return dict(zip((layer.tensor for layer in view.layers), view.values(), strict=True))


def channels_first(values):
    """(B, 1, H, W, C) as (B, C, H, W)."""
    return values[:, 0].transpose(0, 3, 1, 2)


def test_the_backend_shows_its_layers() -> None:
    assert isinstance(BACKEND, LayerShower)


@pytest.mark.slow
def test_each_layer_is_what_pytorch_gives_and_the_last_one_the_answer(file) -> None:
    view = BACKEND.layers(file, FEEDS)
    found, expected = computed(view), in_torch(branched(), FEEDS["image"])
    for name, wanted in (
        ("CONV_2D.1", expected["stem"]),
        ("HARD_SWISH.1", expected["act"]),
        ("CONV_2D.2", expected["relu"]),
        ("ADD.1", expected["act"] + expected["relu"]),
    ):
        np.testing.assert_allclose(channels_first(found[name]), wanted, rtol=1e-4, atol=1e-5, err_msg=name)
    last = view.layers[-1]
    assert (last.tensor, last.operator) == ("FULLY_CONNECTED.1", "FULLY_CONNECTED")
    np.testing.assert_allclose(found[last.tensor][:, 0], expected["head"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[last.tensor][:, 0], BACKEND.open(file).run(FEEDS))


@pytest.mark.slow
def test_a_second_compilation_has_the_same_names_and_no_layer_to_blame(file, tmp_path) -> None:
    fresh = BACKEND.layers(compiled(branched(), tmp_path), FEEDS)
    assert fresh.layers == BACKEND.layers(file, FEEDS).layers
    rows = departures(fresh, BACKEND.layers(file, FEEDS))
    assert len(rows) == len(fresh.layers)
    assert max(row.own for row in rows) == max(row.error for row in rows) == 0.0


def of_kind(model, kind):
    codes = [code.builtinCode for code in model.operatorCodes]
    return [
        own for own in model.subgraphs[0].operators if codes[own.opcodeIndex] == getattr(schema.BuiltinOperator, kind)
    ]


def buffer_of(model, operator, place):
    return model.buffers[model.subgraphs[0].tensors[operator.inputs[place]].buffer]


def scaled(model):
    buffer = buffer_of(model, of_kind(model, "CONV_2D")[1], 1)
    buffer.data = np.frombuffer((2 * np.frombuffer(buffer.data.tobytes(), np.float32)).tobytes(), np.uint8)


def without_bias(model):
    buffer = buffer_of(model, of_kind(model, "FULLY_CONNECTED")[0], 2)
    buffer.data = np.zeros_like(buffer.data)


def without_relu(model):
    of_kind(model, "CONV_2D")[1].builtinOptions.fusedActivationFunction = 0


@pytest.mark.slow
@pytest.mark.parametrize(("change", "tensor"), [
    (scaled, "CONV_2D.2"), (without_bias, "FULLY_CONNECTED.1"), (without_relu, "CONV_2D.2"),
])  # fmt: skip
def test_a_wrong_layer_is_named_and_no_other_one(file, tmp_path, change, tensor) -> None:
    other = tflite_files.changed(file, change, tmp_path / "wrong.tflite")
    rows = departures(BACKEND.layers(file, FEEDS), BACKEND.layers(other, FEEDS))
    assert [row.tensor for row in rows if row.own > FLOAT_LIMIT] == [tensor]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "tensor"), [("without bias", "CONV_2D.1"), ("without act", "CONV_2D.2")])
def test_the_first_wrong_layer_of_another_network_is_named(file, tmp_path, fault, tensor) -> None:
    view = BACKEND.layers(compiled(wrong(fault), tmp_path), FEEDS)
    assert first(departures(BACKEND.layers(file, FEEDS), view), FLOAT_LIMIT).tensor == tensor


@pytest.mark.slow
def test_two_inputs_have_their_names(tmp_path) -> None:
    feeds = {"depth": pixels(3, seed=8), "rgb": pixels(3, seed=7)}
    file = compiled(settled(TwoSensors()), tmp_path)
    found = computed(BACKEND.layers(file, feeds))
    np.testing.assert_array_equal(found["rgb"], feeds["rgb"])
    np.testing.assert_array_equal(found["SUB.1"][:, 0], BACKEND.open(file).run(feeds))


def written(folder):
    """A file of several operators: constants that operators make, two outputs, integers, an input that is left out.

    It gives exp(2 * the left half) at the places of the right half's largest numbers, per row.
    """
    f32, i32 = np.float32, np.int32
    tensors = [
        ("x", f32, (1, 1, 2, 4)),
        ("axis", i32(3).reshape(()), ()),
        ("left", f32, (1, 1, 2, 2)),
        ("right", f32, (1, 1, 2, 2)),
        ("half", np.float16([[2.0]]), (1, 1)),
        ("made", f32, (1, 1)),
        ("more", f32, (1, 1)),
        ("doubled", f32, (1, 1, 2, 2)),
        ("number", i32(1).reshape(()), ()),
        ("most", f32, (1, 1, 2, 1)),
        ("places", i32, (1, 1, 2, 1)),
        ("as float", f32, (1, 1, 2, 1)),
        ("sum", f32, (1, 1, 2, 2)),
    ]
    operators = [
        ("SPLIT", ["axis", "x"], ["left", "right"], schema.SplitOptionsT(numSplits=2)),
        ("DEQUANTIZE", ["half"], ["made"], None),
        ("NEG", ["made"], ["more"], None),
        ("MUL", ["left", "more"], ["doubled"], schema.MulOptionsT()),
        ("TOPK_V2", ["right", "number"], ["most", "places"], None),
        ("CAST", ["places"], ["as float"], schema.CastOptionsT()),
        ("ADD", ["doubled", "as float"], ["sum"], schema.AddOptionsT()),
    ]
    return tflite_files.save(tflite_files.model(tensors, operators), folder / "small.tflite")


def test_every_output_is_what_numpy_computes_and_constants_are_no_layers(tmp_path) -> None:
    file = written(tmp_path)
    view = BACKEND.layers(file, ROWS)
    assert [(layer.layer, layer.tensor) for layer in view.layers] == [
        ("image", "image"), ("left", "SPLIT.1"), ("right", "SPLIT.1:1"), ("doubled", "MUL.1"), ("most", "TOPK_V2.1"),
        ("places", "TOPK_V2.1:1"), ("as float", "CAST.1"), ("sum", "ADD.1"),
    ]  # fmt: skip
    assert view.layers[3].inputs == ("SPLIT.1",)
    found, image = computed(view), ROWS["image"][:, None]
    np.testing.assert_array_equal(found["SPLIT.1:1"], image[..., 2:])
    np.testing.assert_array_equal(found["MUL.1"], -2 * image[..., :2])
    np.testing.assert_array_equal(found["TOPK_V2.1"], image[..., 3:])
    assert found["TOPK_V2.1:1"] is None
    np.testing.assert_array_equal(found["ADD.1"], 1 - 2 * image[..., :2])
    np.testing.assert_array_equal(found["ADD.1"].reshape(3, 1, 2, 2), BACKEND.open(file).run(ROWS).reshape(3, 1, 2, 2))


def test_what_is_sent_back_is_what_later_layers_read(tmp_path) -> None:
    view = BACKEND.layers(written(tmp_path), ROWS)
    stream, sent = view.values(), None
    for layer in view.layers:
        found = stream.send(sent)
        sent = np.ones_like(found) if layer.tensor == "SPLIT.1" else None
        if layer.tensor == "MUL.1":
            np.testing.assert_array_equal(found, np.full((3, 1, 1, 2, 2), -2.0))


def test_an_operator_made_wrong_is_named_and_the_file_stays_as_it_is(tmp_path) -> None:
    def off(model):
        model.buffers[2].data = np.frombuffer(np.float16([[2.5]]).tobytes(), np.uint8)

    right = written(tmp_path)
    before = right.read_bytes()
    other = BACKEND.layers(tflite_files.changed(right, off, tmp_path / "wrong.tflite"), ROWS)
    (blamed,) = (row for row in departures(BACKEND.layers(right, ROWS), other) if row.own > FLOAT_LIMIT)
    assert (blamed.tensor, blamed.own) == ("MUL.1", pytest.approx(0.25))
    assert right.read_bytes() == before


def test_a_damaged_file_is_one_message(tmp_path) -> None:
    whole = written(tmp_path).read_bytes()
    for name, content, said in (
        ("text", b"no model\n" * 9, r"no \.tflite file\. Copy it again\."),
        ("cut", whole[: len(whole) // 2], r"LiteRT cannot load it [^\n]*"),
        ("junk", whole[:8] + b"\1" * 90, r"LiteRT cannot load it [^\n]*"),
    ):
        (tmp_path / f"{name}.tflite").write_bytes(content)
        with pytest.raises(ExportError, match=rf"^\S*{name}\.tflite: {UNSEEN} \({said}\)$"):
            BACKEND.layers(tmp_path / f"{name}.tflite", ROWS)


def test_images_under_another_name_or_of_another_size_are_one_message(tmp_path) -> None:
    file = written(tmp_path)
    with pytest.raises(ExportError, match=rf"{UNSEEN} \(there are no images for image\)$"):
        BACKEND.layers(file, {"depth": ROWS["image"]})
    with pytest.raises(ExportError, match=UNSEEN) as raised:
        list(BACKEND.layers(file, {"image": ROWS["image"].transpose(0, 1, 3, 2)}).values())
    assert "\n" not in str(raised.value)


def test_looking_imports_neither_torch_nor_a_converter(tmp_path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'litert_torch', 'timm'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from edgefw.plugins.backends.litert import LiteRtBackend, LiteRtConfig\n"
        f"view = LiteRtBackend(LiteRtConfig()).layers(Path({str(written(tmp_path))!r}), {{'image': np.zeros((2, 1, 2, 4), 'f4')}})\n"
        "print([*view.values()][-1].shape)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip().endswith("(2, 1, 1, 2, 2)"), result.stderr
