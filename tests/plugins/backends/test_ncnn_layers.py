"""Layers of ncnn files: each is what PyTorch gives, the last what the runner answers; a wrong one is named."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import numpy as np
import pytest
from branched import branched, in_torch, wrong
from small_networks import TwoSensors, pixels, request, settled

from edgefw.contracts.backend import LayerShower
from edgefw.errors import ExportError
from edgefw.plugins.backends.ncnn import FILE, PARTS, NcnnBackend, NcnnConfig
from edgefw.runtime.departure import FLOAT_LIMIT, HALF_LIMITS, departures, first

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")
BACKEND = NcnnBackend(NcnnConfig(threads=1))
FEEDS = {"image": pixels(4, 2)}
UNSEEN = "its layers cannot be looked at"


def compiled(network, folder, backend=BACKEND):
    folder.mkdir(parents=True, exist_ok=True)
    return backend.compile(request(network, folder)).file


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return compiled(branched(), tmp_path_factory.mktemp("ncnn"))


def by_operator(view):
    """[(values, layer)] by operator, in the order of the graph."""
    found: dict = {}
    for layer, values in zip(view.layers, view.values(), strict=True):
        found.setdefault(layer.operator, []).append((values, layer))
    return found


def written(folder, parts):
    """A file of a .param text and no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / FILE, "w") as archive:
        for name, content in zip(PARTS, parts, strict=True):
            archive.writestr(name, content)
    return folder / FILE


def test_the_backend_shows_its_layers():
    assert isinstance(BACKEND, LayerShower)


def test_each_layer_is_what_pytorch_gives_and_the_last_one_the_answer(file):
    view = BACKEND.layers(file, FEEDS)
    found, expected = by_operator(view), in_torch(branched(), FEEDS["image"])
    (stem, _), (relu, _) = found["Convolution"]
    ((act, _),), ((summed, _),), ((head, last),) = found["HardSwish"], found["BinaryOp"], found["InnerProduct"]
    for values, wanted in (
        (stem, expected["stem"]),
        (act, expected["act"]),
        (relu, expected["relu"]),
        (summed, expected["act"] + expected["relu"]),
        (head, expected["head"]),
    ):
        np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-5)
    assert view.layers[-1] is last
    np.testing.assert_array_equal(head, BACKEND.open(file).run(FEEDS))


def test_copies_are_no_layers_and_are_read_under_the_name_of_what_was_copied(file):
    found = by_operator(BACKEND.layers(file, FEEDS))
    with zipfile.ZipFile(file) as archive:
        assert "\nSplit" in archive.read("model.param").decode()
    assert "Split" not in found
    act, relu = found["HardSwish"][0][1], found["Convolution"][1][1]
    assert relu.inputs == (act.tensor,)
    assert sorted(found["BinaryOp"][0][1].inputs) == sorted((act.tensor, relu.tensor))


def test_what_is_sent_back_is_what_later_layers_read(file):
    view = BACKEND.layers(file, FEEDS)
    stream, (stem, act) = view.values(), view.layers[1:3]
    assert act.inputs == (stem.tensor,)
    next(stream)
    changed = np.full_like(stream.send(None), 2.0)
    kept = changed.copy()
    np.testing.assert_allclose(stream.send(changed), 2.0 * 5.0 / 6.0, rtol=1e-6)
    np.testing.assert_array_equal(changed, kept)


def test_a_second_compilation_has_the_same_names_and_no_layer_to_blame(file, tmp_path):
    rows = departures(BACKEND.layers(compiled(branched(), tmp_path), FEEDS), BACKEND.layers(file, FEEDS))
    assert len(rows) == len(BACKEND.layers(file, FEEDS).layers) == 7
    assert max(row.own for row in rows) == max(row.error for row in rows) == 0.0


@pytest.mark.parametrize(("fault", "tensor"), [
    ("scaled", "Convolution.2"),
    ("without bias", "Convolution.1"),
    ("without relu", "Convolution.2"),
])  # fmt: skip
def test_a_wrong_layer_is_named_and_no_other_one(file, tmp_path, fault, tensor):
    view = BACKEND.layers(compiled(wrong(fault), tmp_path), FEEDS)
    (blamed,) = (row for row in departures(BACKEND.layers(file, FEEDS), view) if row.own > FLOAT_LIMIT)
    assert blamed.tensor == tensor


def test_the_layer_behind_a_missing_activation_is_named_first(file, tmp_path):
    view = BACKEND.layers(compiled(wrong("without act"), tmp_path), FEEDS)
    blamed = first(departures(BACKEND.layers(file, FEEDS), view), FLOAT_LIMIT)
    assert blamed.tensor == "Convolution.2"


def test_weights_in_half_precision_have_no_layer_to_blame(file, tmp_path):
    backend = NcnnBackend(NcnnConfig(storage="fp16", threads=1))
    half = compiled(branched(), tmp_path, backend)
    rows = departures(BACKEND.layers(file, FEEDS), backend.layers(half, FEEDS))
    assert first(rows, HALF_LIMITS["fp16"]) is None
    assert max(row.own for row in rows) > 1e-6


def test_two_inputs_have_their_names(tmp_path):
    feeds = {"depth": pixels(3, seed=8), "rgb": pixels(3, seed=7)}
    file = compiled(settled(TwoSensors()), tmp_path)
    view = BACKEND.layers(file, feeds)
    values = list(view.values())
    assert [layer.tensor for layer in view.layers[:2]] == ["rgb", "depth"]
    np.testing.assert_array_equal(values[0], feeds["rgb"])
    np.testing.assert_array_equal(values[-1], BACKEND.open(file).run(feeds))


def test_blobs_of_every_number_of_dimensions_and_several_outputs_are_passed_on(tmp_path):
    lines = [
        "7767517", "7 8",
        "Input in0 0 1 in0",
        "Slice cut 1 2 in0 left right -23300=2,1,-233 1=0",
        "Reshape volume 1 1 right four 0=5 1=3 11=1 2=2",
        "Reshape flat 1 1 four one 0=-1",
        "Reshape plane 1 1 left two 0=3 1=5",
        "Reshape line 1 1 two other 0=-1",
        "Concat all 2 1 one other out0 0=0",
    ]  # fmt: skip
    file = written(tmp_path, ["\n".join(lines) + "\n", b"", "image\n"])
    image = np.arange(90, dtype=np.float32).reshape(2, 3, 5, 3)
    view = BACKEND.layers(file, {"image": image})
    found = dict(zip((layer.tensor for layer in view.layers), view.values(), strict=True))
    assert [layer.layer for layer in view.layers[1:4]] == ["cut", "cut", "volume"]
    left, right = image[:, :1], image[:, 1:]
    np.testing.assert_array_equal(found["Slice.1"], left)
    np.testing.assert_array_equal(found["Slice.1:1"], right)
    np.testing.assert_array_equal(found["Reshape.1"], right.reshape(2, 2, 1, 3, 5))
    np.testing.assert_array_equal(found["Reshape.3"], left.reshape(2, 5, 3))
    np.testing.assert_array_equal(found["Concat.1"], np.concatenate([right.reshape(2, -1), left.reshape(2, -1)], 1))


def test_a_damaged_file_is_one_message(file, tmp_path):
    (tmp_path / "half.zip").write_bytes(file.read_bytes()[:900])
    with pytest.raises(ExportError, match=rf"^\S*half\.zip: {UNSEEN} \(damaged [^\n]*\)$"):
        BACKEND.layers(tmp_path / "half.zip", FEEDS)
    bad = written(tmp_path / "bad", ["no network\n", b"", "image\n"])
    with pytest.raises(ExportError, match=rf"^\S*model\.ncnn\.zip: {UNSEEN} \(ncnn cannot load it[^\n]*\)$"):
        BACKEND.layers(bad, FEEDS)
    with pytest.raises(ExportError, match=rf"^\S*nowhere\.zip: {UNSEEN} \(there is no such file\.\)$"):
        BACKEND.layers(tmp_path / "nowhere.zip", FEEDS)


def test_images_under_another_name_and_layers_that_do_not_run_are_one_message(file, tmp_path):
    with pytest.raises(ExportError, match=rf"{UNSEEN} \(there are no images for image\)$"):
        BACKEND.layers(file, {"depth": FEEDS["image"]})
    lines = ["7767517", "2 2", "Input in0 0 1 in0", "PixelShuffle shuffled 1 1 in0 out0 0=7"]
    view = BACKEND.layers(written(tmp_path, ["\n".join(lines) + "\n", b"", "image\n"]), FEEDS)
    with pytest.raises(ExportError, match=rf"{UNSEEN} \(ncnn cannot run layer shuffled, status -?\d+\)$"):
        list(view.values())


def test_looking_imports_neither_torch_nor_pnnx(file):
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'pnnx', 'timm'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from edgefw.plugins.backends.ncnn import NcnnBackend, NcnnConfig\n"
        f"view = NcnnBackend(NcnnConfig()).layers(Path({str(file)!r}), {{'image': np.zeros((2, 3, 16, 16), 'f4')}})\n"
        "print([*view.values()][-1].shape)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "(2, 8)", result.stderr
