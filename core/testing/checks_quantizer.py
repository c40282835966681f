"""Promises of a quantizer, see `edgefw.contracts.quantizer`: those of its level, on a file or on a module."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import numpy as np

from edgefw.contracts.quantizer import Calibration, QuantizationReport, TimedQuantizer
from edgefw.testing.fakes import calibration, embedding_network, onnx_model, pictures, student_network
from edgefw.testing.onnx_files import OpenFile, cosine, run
from edgefw.testing.subject import Subject

if TYPE_CHECKING:
    from edgefw.training.network import StudentNetwork


def level_is_declared(subject: Subject) -> None:
    """`level` is one of the words it provides; `precision` can be part of a folder's name."""
    quantizer = subject.piece
    assert quantizer.level in subject.technique.provided(subject.config), f"level {quantizer.level}"
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", quantizer.precision), f"precision '{quantizer.precision}'"


def file_is_smaller_and_source_is_kept(subject: Subject) -> None:
    """The quantised file is smaller than the source, which is not touched; the report says what was done.

    A quantizer that times its files may leave none, and says so in the report.
    """
    if not _is_onnx(subject):
        return
    source = onnx_model(_folder(subject) / "model.onnx")
    before = hashlib.sha256(source.read_bytes()).hexdigest()
    target = source.with_name("small.onnx")
    report = _quantised(subject, source, target, calibration())
    assert isinstance(report, QuantizationReport) and report.details, "no details in the report"
    assert hashlib.sha256(source.read_bytes()).hexdigest() == before, "the source was changed"
    assert target.exists() != report.stays_float, "stays_float does not say whether there is a file"
    if report.stays_float:
        assert "quantizer.timed" in _words(subject), "only a quantizer that provides `timed` may leave no file"
        return
    assert target.stat().st_size < source.stat().st_size, f"{target.stat().st_size} of {source.stat().st_size} bytes"


def file_gives_nearly_the_same_embeddings(subject: Subject) -> None:
    """Inputs, outputs and the dynamic batch are those of the source; the mean cosine to it is at least 0.98."""
    if not _is_onnx(subject):
        return
    source = onnx_model(_folder(subject) / "model.onnx")
    target = source.with_name("small.onnx")
    if _quantised(subject, source, target, calibration()).stays_float:
        return
    images = pictures(5, seed=9)
    expected = run(source, images)
    for rows in (1, 5):
        found = run(target, images[:rows])
        assert found.shape == (rows, expected.shape[1]), f"{found.shape} for {rows} images"
    found = run(target, images)
    assert np.isfinite(found).all() and cosine(found, expected) >= 0.98, f"mean cosine {cosine(found, expected):.3f}"


def same_source_same_file(subject: Subject) -> None:
    """Quantising twice gives the same embeddings, bit by bit; not asked of a quantizer that goes by the clock."""
    if not _is_onnx(subject) or "quantizer.timed" in _words(subject):
        return
    source, images = onnx_model(_folder(subject) / "model.onnx"), pictures(3)
    found = []
    for name in ("one.onnx", "two.onnx"):
        _quantised(subject, source, source.with_name(name), calibration())
        found.append(run(source.with_name(name), images))
    assert np.array_equal(found[0], found[1])


def calibration_is_read_in_passes(subject: Subject) -> None:
    """Calibration data may be read in several passes, batch by batch; nothing else is asked of it."""
    if not _is_onnx(subject):
        return
    plain, passes = calibration(), []

    def counted() -> object:
        passes.append(1)
        return plain.batches()

    source = onnx_model(_folder(subject) / "model.onnx")
    counting = Calibration(batches=counted, samples=plain.samples)  # type: ignore[arg-type]
    _quantised(subject, source, source.with_name("small.onnx"), counting)
    assert len(passes) <= 100, f"{len(passes)} passes over the calibration data"


def prepared_network_trains(subject: Subject) -> None:
    """A module quantizer keeps the network's outputs and lets gradients through to every parameter."""
    if not _is_module(subject):
        return
    import torch

    network, pixels = _network(subject), torch.from_numpy(pictures(4))
    expected = network(pixels)
    prepared = subject.build().prepare(network, pixels[:2])
    found = prepared(pixels)
    assert [part.shape for part in found[:3]] == [part.shape for part in expected[:3]], "the outputs have other shapes"
    assert cosine(found[0].detach().numpy(), expected[0].detach().numpy()) >= 0.9, "the embeddings are others"
    (found[0].pow(2).sum() + found[1].sum()).backward()
    trained = [
        name
        for name, parameter in prepared.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    ]
    assert trained, "no gradient reaches any parameter"


def converted_network_keeps_its_outputs(subject: Subject) -> None:
    """After `convert` the network gives nearly what it gave with fake quantisation; its state can be saved before."""
    if not _is_module(subject):
        return
    import torch

    pixels = torch.from_numpy(pictures(4))
    quantizer = subject.build()
    prepared = quantizer.prepare(_network(subject), pixels[:2])
    prepared(pixels)
    again = subject.build().prepare(_network(subject), pixels[:2])
    again.load_state_dict(prepared.state_dict())
    expected = prepared(pixels)[0].detach().numpy()
    found = quantizer.convert(prepared)(pixels)[0].detach().numpy()
    assert cosine(found, expected) >= 0.95, f"mean cosine {cosine(found, expected):.3f}"


def rounded_program_keeps_its_outputs(subject: Subject) -> None:
    """A program quantizer leaves the network as it is; its graph gives nearly the same embeddings, at any batch."""
    if subject.piece.level != "program":
        return
    import torch

    network, pixels = embedding_network(), torch.from_numpy(pictures(5, seed=9))
    with torch.no_grad():
        expected = network(pixels).numpy()
        rounded, report = subject.build().quantize_program(network, calibration())
        assert isinstance(report, QuantizationReport) and report.details, "no details in the report"
        assert np.array_equal(network(pixels).numpy(), expected), "the network was changed"
        for rows in (1, 5):
            found = rounded(pixels[:rows]).numpy()
            assert found.shape == (rows, expected.shape[1]), f"{found.shape} for {rows} images"
    assert not np.array_equal(found, expected), "nothing was rounded"
    assert cosine(found, expected) >= 0.98, f"mean cosine {cosine(found, expected):.3f}"


def timing_is_declared(subject: Subject) -> None:
    """A quantizer has `quantize_timed` if and only if it provides `timed`: threads then decide whether it runs again."""
    assert isinstance(subject.piece, TimedQuantizer) == ("quantizer.timed" in _words(subject))


CHECKS = (
    level_is_declared,
    timing_is_declared,
    file_is_smaller_and_source_is_kept,
    file_gives_nearly_the_same_embeddings,
    same_source_same_file,
    calibration_is_read_in_passes,
    prepared_network_trains,
    converted_network_keeps_its_outputs,
    rounded_program_keeps_its_outputs,
)


def _words(subject: Subject) -> set[str]:
    return {f"quantizer.{word}" for word in subject.technique.provided(subject.config)}


def _quantised(subject: Subject, source: Path, target: Path, data: Calibration) -> QuantizationReport:
    quantizer = subject.build()
    if isinstance(quantizer, TimedQuantizer):
        return quantizer.quantize_timed(source, target, data, OpenFile)
    report: QuantizationReport = quantizer.quantize(source, target, data)
    return report


def _is_onnx(subject: Subject) -> bool:
    return bool(subject.piece.level == "onnx")


def _is_module(subject: Subject) -> bool:
    return bool(subject.piece.level == "module")


def _network(subject: Subject) -> StudentNetwork:
    """A network with what the quantizer needs of a student."""
    return student_network(attention="student.attention" in subject.technique.needed(subject.config))


def _folder(subject: Subject) -> Path:
    """A new, empty folder inside the subject's own."""
    return Path(mkdtemp(dir=subject.folder))
