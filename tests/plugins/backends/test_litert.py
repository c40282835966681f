"""The LiteRT backend: agreement with PyTorch image by image, what it refuses, no torch on the device."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from small_networks import ConvNet, OddBatch, TwoSensors, answer, pixels, request, settled
from torch import nn

from edgefw.errors import BundleError, ExportError, MissingDependency
from edgefw.own_environment import own_environment
from edgefw.plugins.backends.litert import LiteRtBackend, LiteRtConfig

pytest.importorskip("ai_edge_litert")
needs_converter = pytest.mark.skipif(
    not own_environment("litert").ready, reason="edgefw doctor --make litert was not run"
)


def backend(**options) -> LiteRtBackend:
    return LiteRtBackend(LiteRtConfig(**{"threads": 1, **options}))


@pytest.fixture(scope="module")
def network():
    return settled(ConvNet())


@pytest.fixture(scope="module")
def compiled(network, tmp_path_factory):
    if not own_environment("litert").ready:
        pytest.skip("edgefw doctor --make litert was not run")
    piece = backend()
    return piece, piece.compile(request(network, tmp_path_factory.mktemp("litert")))


def test_without_the_converters_environment_compiling_is_refused_with_the_command(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EDGEFW_CACHE", str(tmp_path))
    with pytest.raises(
        MissingDependency, match=r"^backend 'litert': litert-torch.* once: edgefw doctor --make litert$"
    ):
        backend().check_compile()


@pytest.mark.slow
def test_the_file_gives_the_networks_embeddings_for_any_number_of_images(network, compiled) -> None:
    piece, artefact = compiled
    assert [path.name for path in artefact.file.parent.iterdir()] == ["model.tflite"]
    assert (artefact.level, artefact.details["batch"]) == ("compiled", 1)
    runner = piece.open(artefact.file)
    assert tuple(runner.inputs) == ("image",)
    for batch in (1, 2, 7):
        images = pixels(batch, seed=9)
        found = runner.run({"image": images})
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, answer(network, images), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@needs_converter
def test_two_inputs_keep_their_names(tmp_path) -> None:
    network, piece = settled(TwoSensors()), backend()
    runner = piece.open(piece.compile(request(network, tmp_path)).file)
    assert set(runner.inputs) == {"rgb", "depth"}
    rgb, depth = pixels(3, seed=7), pixels(3, seed=8)
    found = runner.run({"depth": depth, "rgb": rgb})
    np.testing.assert_allclose(found, answer(network, rgb, depth), rtol=1e-4, atol=1e-5)


class Unknown(nn.Module):
    """An operator that the converter has no lowering for."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(pixels.mean(1))


@pytest.mark.slow
@needs_converter
def test_operators_that_the_converter_lacks_are_one_message(tmp_path) -> None:
    with pytest.raises(
        ExportError, match=r"^backend 'litert': litert-torch cannot convert the network \(.*\)\. Use the"
    ):
        backend().compile(request(Unknown().eval(), tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@needs_converter
def test_a_file_that_is_not_the_network_is_refused(tmp_path) -> None:
    with pytest.raises(
        ExportError, match="backend 'litert': the file disagrees with the network at batch 1: cosine -1"
    ):
        backend().compile(request(settled(OddBatch(seen=1)), tmp_path))
    assert list(tmp_path.iterdir()) == []


@needs_converter
def test_a_network_that_rounds_is_refused(network, tmp_path) -> None:
    with pytest.raises(
        ExportError, match="takes float networks, and this one was trained to round. Use the backend on"
    ):
        backend().compile(request(network, tmp_path, quantised=True))


def test_files_that_are_no_models_give_one_message_each(tmp_path) -> None:
    (tmp_path / "text.tflite").write_bytes(b"no model\n" * 9)
    with pytest.raises(BundleError, match="text.tflite: no .tflite file. Copy it again."):
        backend().open(tmp_path / "text.tflite")
    (tmp_path / "cut.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\1" * 90)
    with pytest.raises(BundleError, match="cut.tflite: LiteRT cannot load it"):
        backend().open(tmp_path / "cut.tflite")
    with pytest.raises(BundleError, match="there is no such file"):
        backend().open(tmp_path / "nowhere.tflite")


@pytest.mark.slow
def test_opening_imports_neither_torch_nor_a_converter(compiled) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'litert_torch', 'timm'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from edgefw.plugins.backends.litert import LiteRtBackend, LiteRtConfig\n"
        f"runner = LiteRtBackend(LiteRtConfig(threads=1)).open(Path({str(compiled[1].file)!r}))\n"
        "print(runner.run({'image': np.zeros((2, 3, 16, 16), np.float32)}).shape)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip().endswith("(2, 8)"), result.stderr
