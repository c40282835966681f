"""The ExecuTorch backend: agreement with PyTorch image by image, int8 programs, threads, what it refuses."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_networks import ConvNet, OddBatch, TwoSensors, answer, cosines, pixels, request, settled
from torch import nn

from edgefw.contracts.quantizer import Calibration
from edgefw.errors import BundleError, ExportError
from edgefw.plugins.backends.executorch import FILE, POOL, ExecuTorchBackend, ExecuTorchConfig

pytest.importorskip("executorch")


def backend(**options) -> ExecuTorchBackend:
    return ExecuTorchBackend(ExecuTorchConfig(**{"threads": 1, **options}))


@pytest.fixture(scope="module")
def network():
    return settled(ConvNet())


@pytest.fixture(scope="module")
def compiled(network, tmp_path_factory):
    piece = backend()
    return piece, piece.compile(request(network, tmp_path_factory.mktemp("executorch")))


def test_the_file_gives_the_networks_embeddings_for_any_number_of_images(network, compiled):
    piece, artefact = compiled
    runner = piece.open(artefact.file)
    for batch in (1, 2, 7):
        images = pixels(batch, seed=9)
        found, expected = runner.run({"image": images}), answer(network, images)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        assert cosines(found, expected).min() >= 0.9999


def test_one_plain_program_says_what_xnnpack_took(compiled):
    artefact = compiled[1]
    assert [path.name for path in artefact.file.parent.iterdir()] == [FILE]
    assert artefact.file.read_bytes()[4:6] == b"ET"
    assert artefact.level == "compiled" and artefact.details["batch"] == 1
    assert artefact.details["xnnpack_parts"] >= 1


def test_two_inputs_keep_their_names_and_order(tmp_path):
    network, piece = settled(TwoSensors()), backend()
    runner = piece.open(piece.compile(request(network, tmp_path)).file)
    assert tuple(runner.inputs) == ("rgb", "depth")
    rgb, depth = pixels(3, seed=7), pixels(3, seed=8)
    found = runner.run({"depth": depth, "rgb": rgb})
    np.testing.assert_allclose(found, answer(network, rgb, depth), rtol=1e-4, atol=1e-5)


def test_runners_of_other_thread_counts_may_take_turns(network, compiled):
    file, images = compiled[1].file, pixels(2, seed=3)
    runners = [compiled[0].open(file, threads) for threads in (1, 2, 1)]
    expected, before = answer(network, images), POOL.generation
    for runner in (*runners, *runners):
        np.testing.assert_allclose(runner.run({"image": images}), expected, rtol=1e-4, atol=1e-6)
    assert POOL.generation > before
    last = POOL.generation
    runners[2].run({"image": images})
    assert POOL.generation == last


def test_opening_waits_until_nothing_runs(compiled):
    with ThreadPoolExecutor(1) as pool:
        with POOL.turn:
            opening = pool.submit(compiled[0].open, compiled[1].file, 2)
            with pytest.raises(TimeoutError):
                opening.result(0.3)
        assert opening.result(60).inputs == ("image",)


class Outside(nn.Module):
    """An operator that XNNPACK lacks, behind one that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(self.first(pixels).mean((2, 3)), 1)


def test_operators_that_xnnpack_lacks_run_outside_it_and_are_named(tmp_path):
    network = Outside().eval()
    artefact = backend().compile(request(network, tmp_path))
    assert any("cumsum" in name for name in artefact.details["outside_xnnpack"])
    assert "runs outside XNNPACK" in artefact.warnings[0] and "cumsum" in artefact.warnings[0]
    assert not any("alloc" in name or "conv" in name for name in artefact.details["outside_xnnpack"])
    found = backend().open(artefact.file).run({"image": pixels(3)})
    np.testing.assert_allclose(found, answer(network, pixels(3)), rtol=1e-4, atol=1e-6)


def test_a_network_that_depends_on_the_batch_is_refused(tmp_path):
    with pytest.raises(
        ExportError, match="backend 'executorch': the file disagrees with the network at batch 1: cosine -1"
    ):
        backend().compile(request(settled(OddBatch(seen=1)), tmp_path))
    assert list(tmp_path.iterdir()) == []


class Unexportable(nn.Module):
    """A shape that depends on values."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1)[:, : int(pixels.sum())]


def test_what_torch_cannot_capture_is_one_message(tmp_path):
    with pytest.raises(
        ExportError, match=r"^backend 'executorch': the network cannot be compiled \(.*Use the backend onn"
    ):
        backend().compile(request(Unexportable(), tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_was_trained_to_round_is_refused_and_told_of_int8(network, tmp_path):
    with pytest.raises(
        ExportError, match="was trained to round. .* For int8 in ExecuTorch add the quantizer int8-pt2e"
    ):
        backend().compile(request(network, tmp_path, quantised=True))


def test_damaged_files_and_images_of_another_size_give_one_message_each(compiled, tmp_path):
    good = compiled[1].file.read_bytes()
    for name, data in {"half": good[: len(good) // 2], "text": b"no program\n" * 30, "empty": b""}.items():
        (tmp_path / f"{name}.pte").write_bytes(data)
        with pytest.raises(BundleError, match=f"{name}.pte: ExecuTorch cannot load it"):
            compiled[0].open(tmp_path / f"{name}.pte")
    with pytest.raises(BundleError, match="absent.pte: there is no such file"):
        compiled[0].open(tmp_path / "absent.pte")
    with pytest.raises(BundleError, match="do the images have its size"):
        compiled[0].open(compiled[1].file).run({"image": pixels(1, size=24)})


def test_an_int8_program_computes_what_its_rounded_graph_says(network, tmp_path):
    from edgefw.plugins.quantizers.int8_pt2e import Int8Pt2e, Pt2eConfig

    rows = pixels(12, seed=5)
    samples = Calibration(batches=lambda: iter([{"image": rows[:8]}, {"image": rows[8:]}]), samples=12)
    rounded, report = Int8Pt2e(Pt2eConfig(), "q").quantize_program(network, samples)
    plain = request(network, tmp_path)
    artefact = backend().compile(replace(plain, network=rounded, quantised=True, level="program"))
    assert report.details["layers"] == {"int8": 3, "float": 0}
    found = backend().open(artefact.file).run({"image": rows})
    assert cosines(found, answer(rounded, rows)).min() > 0.999
    assert cosines(found, answer(network, rows)).min() > 0.99
    assert not np.allclose(found, answer(network, rows), rtol=1e-4)
