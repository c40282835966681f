"""The AOTInductor backend: what it says without a compiler, of another machine and of damage; a compiled package (slow)."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from small_networks import ConvNet, OddBatch, TwoSensors, answer, pixels, request, settled

from edgefw.errors import BundleError, ExportError, MissingDependency
from edgefw.plugins.backends.aoti import AotiBackend, AotiConfig, compiler, read_record

needs_compiler = pytest.mark.skipif(shutil.which(compiler()) is None, reason="there is no C++ compiler")


def backend(**options) -> AotiBackend:
    return AotiBackend(AotiConfig(**{"threads": 1, **options}))


@pytest.fixture(scope="module")
def network():
    return settled(ConvNet())


@pytest.fixture(scope="module")
def compiled(network, tmp_path_factory):
    """A real package; a minute or two on two cores."""
    piece = backend()
    return piece, piece.compile(request(network, tmp_path_factory.mktemp("aoti")))


def package(path, record: object, key: str = "edgefw"):
    """A zip that looks like a package up to its library."""
    text = record if isinstance(record, str) else json.dumps(record)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data/aotinductor/model/a.wrapper_metadata.json", json.dumps({key: text}))
        archive.writestr("model/data/aotinductor/model/a.so", b"\x7fELF" + bytes(100))
    return path


def test_without_a_compiler_the_message_names_it_and_what_to_do(network, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    wanted = (
        r"backend 'aoti': compiling needs a C\+\+ compiler, and there is no 'no-such-compiler'. Install one .*CXX.$"
    )
    with pytest.raises(MissingDependency, match=wanted):
        backend().check_compile()
    with pytest.raises(MissingDependency, match="no-such-compiler"):
        backend().compile(request(network, tmp_path))


def test_a_package_of_another_machine_is_refused_before_it_is_loaded(tmp_path):
    file = package(tmp_path / "a.pt2", {"inputs": ["image"], "machine": "Linux sparc64 DEFAULT, torch 2.11.0"})
    with pytest.raises(BundleError, match=r"a.pt2: was compiled for Linux sparc64 DEFAULT, torch 2.11.0, and this is "):
        backend().open(file)


def test_a_library_that_is_none_is_a_bundle_error(tmp_path):
    from edgefw.plugins.backends.aoti_package import machine

    file = package(tmp_path / "a.pt2", {"inputs": ["image"], "machine": machine()})
    with pytest.raises(BundleError, match=r"a.pt2: torch cannot load it \("):
        backend().open(file)


@pytest.mark.parametrize("record", ["{", "[]", {"inputs": "image", "machine": "m"}, {"machine": "m"}])
def test_a_package_without_our_record_is_refused(tmp_path, record):
    with pytest.raises(BundleError, match="a.pt2: no package that edgefw compiled.$"):
        read_record(package(tmp_path / "a.pt2", record))
    with pytest.raises(BundleError, match="no package that edgefw compiled"):
        read_record(package(tmp_path / "a.pt2", {"inputs": [], "machine": "m"}, key="other"))


def test_damaged_and_missing_files_give_one_message_each(tmp_path):
    good = package(tmp_path / "a.pt2", {"inputs": ["image"], "machine": "m"}).read_bytes()
    flipped = bytearray(good)
    flipped[good.index(b"\x7fELF") + 30] ^= 1
    for name, data in {"half": good[:150], "flipped": bytes(flipped), "text": b"no package" * 50}.items():
        (tmp_path / f"{name}.pt2").write_bytes(data)
        with pytest.raises(BundleError, match=f"{name}.pt2: damaged"):
            backend().open(tmp_path / f"{name}.pt2")
    with pytest.raises(BundleError, match="no such file"):
        backend().open(tmp_path / "absent.pt2")


def test_a_network_that_rounds_is_refused(network, tmp_path):
    if shutil.which(compiler()) is None:
        pytest.skip("there is no C++ compiler")
    with pytest.raises(ExportError, match="takes float networks, and this one was trained to round"):
        backend().compile(request(network, tmp_path, quantised=True))


@needs_compiler
def test_what_torch_cannot_capture_is_one_message(tmp_path):
    with pytest.raises(ExportError, match=r"^backend 'aoti': torch cannot compile it \(.*Use the backend onnxruntime"):
        backend().compile(request(settled(OddBatch()), tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@needs_compiler
def test_the_package_gives_the_networks_embeddings_at_every_batch_size(network, compiled):
    piece, artefact = compiled
    assert [path.name for path in artefact.file.parent.iterdir()] == ["model.pt2"]
    assert artefact.details["check"]["batch 4"]["relative_error"] < 1e-4
    runner = piece.open(artefact.file)
    for batch in (1, 2, 7):
        images = pixels(batch, seed=9)
        np.testing.assert_allclose(runner.run({"image": images}), answer(network, images), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@needs_compiler
def test_one_image_runs_through_a_graph_of_its_own(network, compiled):
    """A graph of fixed shape answers one image, however many it is fed; without one the dynamic graph answers."""
    piece, artefact = compiled
    runner, images = piece.open(artefact.file), pixels(2, seed=9)
    assert runner._single is not None
    runner._many = runner._single
    np.testing.assert_allclose(runner.run({"image": images[:1]}), answer(network, images[:1]), rtol=1e-4, atol=1e-6)
    assert len(runner.run({"image": images})) == 1
    many = piece.open(artefact.file)
    many._single = None
    np.testing.assert_allclose(many.run({"image": images[:1]}), answer(network, images[:1]), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@needs_compiler
def test_weights_are_laid_out_once_and_threads_are_those_of_who_runs_it(compiled):
    with zipfile.ZipFile(compiled[1].file) as archive:
        written = "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith(".cpp"))
    assert "mkldnn__convolution_pointwise" in written and "aoti_torch_cpu_convolution(" not in written
    assert "omp parallel" in written and "num_threads(" not in written


@pytest.mark.slow
@needs_compiler
def test_threads_are_torchs_only_while_a_batch_runs(compiled):
    import torch

    runner, before = compiled[0].open(compiled[1].file, 2), torch.get_num_threads()
    runner.run({"image": pixels(1)})
    assert torch.get_num_threads() == before


@pytest.mark.slow
@needs_compiler
def test_two_inputs_keep_their_names_and_order(tmp_path):
    network, piece = settled(TwoSensors()), backend()
    runner = piece.open(piece.compile(request(network, tmp_path)).file)
    assert tuple(runner.inputs) == ("rgb", "depth")
    rgb, depth = pixels(3, seed=7), pixels(3, seed=8)
    np.testing.assert_allclose(
        runner.run({"depth": depth, "rgb": rgb}), answer(network, rgb, depth), rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
@needs_compiler
def test_efficientnet_b3_gives_pytorchs_features(tmp_path):
    """The network of benchmarks/camera, at a small size: minutes of compilation."""
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    torch.manual_seed(0)
    network, piece = settled(timm.create_model("efficientnet_b3", num_classes=0), 64), backend()
    runner = piece.open(piece.compile(request(network, tmp_path, size=64)).file)
    for batch in (1, 3):
        images = pixels(batch, seed=9, size=64)
        wanted = answer(network, images)
        assert wanted.shape == (batch, 1536) and np.isfinite(wanted).all()
        error = np.linalg.norm(runner.run({"image": images}) - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
        assert error.max() < 1e-4


def test_the_compiler_is_the_one_that_torch_takes(monkeypatch):
    monkeypatch.setenv("CXX", os.fspath("/opt/bin/c++-14"))
    assert compiler() == "/opt/bin/c++-14"
