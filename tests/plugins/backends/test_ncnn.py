"""The ncnn backend: agreement with PyTorch image by image, fp16 storage, what it refuses, no torch on the device."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from small_networks import ConvNet, OddBatch, TwoSensors, answer, pixels, request, settled
from torch import nn

from edgefw.contracts.backend import float_precision
from edgefw.errors import BundleError, ExportError, MissingDependency
from edgefw.plugins.backends.ncnn import NcnnBackend, NcnnConfig

pytest.importorskip("ncnn")
pnnx = pytest.importorskip("pnnx")
ncnn_convert = pytest.importorskip("edgefw.plugins.backends.ncnn_convert")


def backend(**options) -> NcnnBackend:
    return NcnnBackend(NcnnConfig(**{"threads": 1, **options}))


@pytest.fixture(scope="module")
def network():
    return settled(ConvNet())


@pytest.fixture(scope="module")
def compiled(network, tmp_path_factory):
    piece = backend()
    return piece, piece.compile(request(network, tmp_path_factory.mktemp("ncnn")))


def test_the_file_gives_the_networks_embeddings_for_any_number_of_images(network, compiled):
    piece, artefact = compiled
    runner = piece.open(artefact.file)
    for batch in (1, 2, 7):
        images = pixels(batch, seed=9)
        found = runner.run({"image": images})
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, answer(network, images), rtol=1e-4, atol=1e-6)


def test_one_file_holds_the_network_and_its_input_names(compiled):
    artefact = compiled[1]
    assert [path.name for path in artefact.file.parent.iterdir()] == ["model.ncnn.zip"]
    assert artefact.level == "compiled"
    with zipfile.ZipFile(artefact.file) as archive:
        assert archive.namelist() == ["model.param", "model.bin", "inputs.txt"]
        assert archive.read("inputs.txt") == b"image\n"
        assert archive.getinfo("model.bin").compress_type == zipfile.ZIP_STORED


def test_half_precision_weights_are_half_the_bytes_and_rounded(network, compiled, tmp_path):
    piece = backend(storage="fp16")
    assert (float_precision(piece), float_precision(compiled[0])) == ("fp16", "fp32")
    artefact = piece.compile(request(network, tmp_path))
    sizes = []
    for file in (artefact.file, compiled[1].file):
        with zipfile.ZipFile(file) as archive:
            sizes.append(archive.getinfo("model.bin").file_size)
    assert sizes[0] < 0.6 * sizes[1]
    images = pixels(5, seed=4)
    found, expected = piece.open(artefact.file).run({"image": images}), answer(network, images)
    relative = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert 1e-6 < relative.max() < 2e-3


def test_two_inputs_keep_their_names_and_order(tmp_path):
    network, piece = settled(TwoSensors()), backend()
    runner = piece.open(piece.compile(request(network, tmp_path)).file)
    assert tuple(runner.inputs) == ("rgb", "depth")
    rgb, depth = pixels(3, seed=7), pixels(3, seed=8)
    found = runner.run({"depth": depth, "rgb": rgb})
    np.testing.assert_allclose(found, answer(network, rgb, depth), rtol=1e-4, atol=1e-5)


class Unknown(nn.Module):
    """An operator that ncnn has no layer for."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cumprod(pixels.mean((2, 3)), 1).fmod(0.7)


def test_operators_that_ncnn_lacks_are_named(tmp_path):
    with pytest.raises(ExportError, match=r"^backend 'ncnn': ncnn has no layer for .*cumprod.*\. Use the backend onnx"):
        backend().compile(request(Unknown().eval(), tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_pnnx_that_fails_is_quoted(network, tmp_path, monkeypatch):
    program = tmp_path / "pnnx"
    program.write_text(f'#!/bin/sh\nrm "$1"\nexec {pnnx.EXEC_PATH} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(pnnx, "EXEC_PATH", str(program))
    folder = tmp_path / "files"
    folder.mkdir()
    said = (
        r"^backend 'ncnn': pnnx failed \(status 255: open failed .*trace.pt / .*read.* failed\)\. Use the backend onnx"
    )
    with pytest.raises(ExportError, match=said):
        backend().compile(request(network, folder))
    assert list(folder.iterdir()) == []


def test_a_pnnx_that_does_not_end_is_stopped(network, tmp_path, monkeypatch):
    monkeypatch.setattr(ncnn_convert, "_PATIENCE_S", 0.001)
    with pytest.raises(ExportError, match=r"^backend 'ncnn': pnnx had not ended after 0.001 seconds and was stopped\."):
        backend().compile(request(network, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_trace_that_is_not_the_network_is_refused(tmp_path):
    with pytest.raises(ExportError, match="backend 'ncnn': the file disagrees with the network at batch 1: cosine -1"):
        backend().compile(request(settled(OddBatch(seen=1)), tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_rounds_is_refused(network, tmp_path):
    with pytest.raises(
        ExportError, match="takes float networks, and this one was trained to round. Use the backend on"
    ):
        backend().compile(request(network, tmp_path, quantised=True))


def test_without_pnnx_compiling_is_refused_and_opening_works(compiled, monkeypatch):
    monkeypatch.setitem(sys.modules, "pnnx", None)
    monkeypatch.setattr("edgefw.plugins.backends.ncnn.is_importable", lambda name: name != "pnnx")
    with pytest.raises(MissingDependency, match=r"compiling needs pnnx. Run: pip install \"edgefw\[ncnn\]\""):
        compiled[0].check_compile()
    assert compiled[0].open(compiled[1].file).run({"image": pixels(1)}).shape == (1, 8)


def test_threads_of_the_call_go_before_the_option(compiled):
    for asked, found in ((None, 1), (2, 2)):
        assert compiled[0].open(compiled[1].file, asked)._net.opt.num_threads == found


def test_damaged_files_give_one_message_each(compiled, tmp_path):
    good = compiled[1].file
    (tmp_path / "half.zip").write_bytes(good.read_bytes()[:900])
    with pytest.raises(BundleError, match="half.zip: damaged"):
        compiled[0].open(tmp_path / "half.zip")
    with zipfile.ZipFile(good) as whole, zipfile.ZipFile(tmp_path / "short.zip", "w") as short:
        for name in whole.namelist():
            short.writestr(name, whole.read(name)[: 100 if name == "model.bin" else None])
    with pytest.raises(BundleError, match="short.zip: ncnn cannot load it"):
        compiled[0].open(tmp_path / "short.zip")


def test_opening_imports_neither_torch_nor_pnnx(compiled):
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'pnnx', 'timm'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from edgefw.plugins.backends.ncnn import NcnnBackend, NcnnConfig\n"
        f"runner = NcnnBackend(NcnnConfig(threads=1)).open(Path({str(compiled[1].file)!r}))\n"
        "print(runner.run({'image': np.zeros((2, 3, 16, 16), np.float32)}).shape)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "(2, 8)", result.stderr
