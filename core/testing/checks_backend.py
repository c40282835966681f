"""Promises of a backend, see `edgefw.contracts.backend`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

from edgefw.contracts.backend import Artefact, CompileRequest, ManyOpener, Runner, absence
from edgefw.errors import BundleError, MissingDependency
from edgefw.testing.clean_import import imports_of
from edgefw.testing.fakes import SIZE, embedding_network, pictures
from edgefw.testing.interleaved import interleaved
from edgefw.testing.onnx_files import cosine
from edgefw.testing.subject import Subject


def accepted_levels_are_declared(subject: Subject) -> None:
    """`accepts` names levels that the technique provides, and `name` is the technique's."""
    backend = subject.piece
    assert backend.accepts and backend.accepts <= subject.technique.provided(subject.config), (
        f"{sorted(backend.accepts)}"
    )
    assert backend.name == subject.technique.name


def artefact_lies_in_the_folder(subject: Subject) -> None:
    """The compiled file lies in the folder that was given, and says on which level it is."""
    artefact, request = _compiled(subject)
    assert artefact.file.is_file() and artefact.file.resolve().is_relative_to(request.folder.resolve())
    assert artefact.level in ("onnx", "compiled"), f"level '{artefact.level}'"


def file_agrees_with_the_network(subject: Subject) -> None:
    """Opened in its own runtime the file gives the network's embeddings, on the examples and on other images."""
    artefact, request = _compiled(subject)
    _skip_elsewhere(subject, artefact)
    runner = subject.build().open(artefact.file)
    assert list(runner.inputs) == list(request.inputs), f"inputs {list(runner.inputs)}, not {list(request.inputs)}"
    for images in (request.examples["rgb"], pictures(4, seed=77)):
        expected = _expected(request.network, images)
        found = runner.run({"rgb": images})
        assert found.dtype == np.float32 and found.shape == expected.shape, f"{found.shape} {found.dtype}"
        _agrees(found, expected)


def batch_is_dynamic(subject: Subject) -> None:
    """One file runs with one image, and with more than it was compiled with."""
    artefact, request = _compiled(subject)
    _skip_elsewhere(subject, artefact)
    runner, images = subject.build().open(artefact.file), pictures(7)
    for rows in (1, 2, 7):
        found = runner.run({"rgb": images[:rows]})
        expected = _expected(request.network, images[:rows])
        assert cosine(found, expected) >= 0.999, f"{rows} images"


def threads_can_be_limited(subject: Subject) -> None:
    """`open` takes a number of threads."""
    artefact, request = _compiled(subject)
    _skip_elsewhere(subject, artefact)
    runner = subject.build().open(artefact.file, threads=1)
    assert runner.run({"rgb": request.examples["rgb"]}).shape[0] == len(request.examples["rgb"])


def runner_runs_in_other_threads(subject: Subject) -> None:
    """A runner runs in threads that did not open it, one after the other, and gives the same embeddings there."""
    artefact, request = _compiled(subject)
    _skip_elsewhere(subject, artefact)
    runner, images = subject.build().open(artefact.file), pictures(2, seed=6)
    expected = _expected(request.network, images)
    for _ in range(2):
        (found,) = interleaved([lambda: runner.run({"rgb": images})])
        _agrees(found, expected, "in another thread")
    _agrees(runner.run({"rgb": images}), expected, "in the thread that opened it, after others")


def runners_run_at_the_same_time(subject: Subject) -> None:
    """What `open_many` gives, one runner per thread and no more than asked for, answers at the same time, each its own image."""
    backend = subject.build()
    if not isinstance(backend, ManyOpener):
        return
    artefact, request = _compiled(subject)
    _skip_elsewhere(subject, artefact)
    images = pictures(3, seed=5)
    expected = _expected(request.network, images)
    for most, threads, count in ((3, 2, 2), (2, 4, 2), (1, 2, 1)):
        runners = backend.open_many(artefact.file, most, threads)
        assert len(runners) == count, f"{len(runners)} runners: {most} at most, {threads} threads"
        calls = [partial(_ten, own, images[at : at + 1]) for at, own in enumerate(runners)]
        for at, answers in enumerate(interleaved(calls)):
            for found in answers:
                _agrees(found, expected[at : at + 1], f"runner {at + 1} of {count}")


def damaged_file_is_a_bundle_error(subject: Subject) -> None:
    """A file that is cut, empty or missing is a BundleError, not a crash of the runtime."""
    artefact, _ = _compiled(subject)
    _skip_elsewhere(subject, artefact)
    data = artefact.file.read_bytes()
    for name, damage in {"cut": data[: len(data) // 2], "empty": b"", "a text": b"no model\n" * 20}.items():
        file = Path(mkdtemp(dir=subject.folder)) / artefact.file.name
        file.write_bytes(damage)
        try:
            subject.build().open(file)
        except BundleError:
            continue
        raise AssertionError(f"a file that is {name} was opened")


def imports_no_torch(subject: Subject) -> None:
    """Importing the module does not import torch: the device opens artefacts without it."""
    assert "torch" not in imports_of(subject.ref.module)


CHECKS = (
    accepted_levels_are_declared,
    artefact_lies_in_the_folder,
    file_agrees_with_the_network,
    batch_is_dynamic,
    threads_can_be_limited,
    runner_runs_in_other_threads,
    runners_run_at_the_same_time,
    damaged_file_is_a_bundle_error,
    imports_no_torch,
)


def _compiled(subject: Subject) -> tuple[Artefact, CompileRequest]:
    """A small network, compiled once per subject."""
    memory: dict[str, Any] = vars(subject)
    if "_compiled" not in memory:
        folder = Path(mkdtemp(dir=subject.folder))
        request = CompileRequest(
            network=embedding_network(), inputs={"rgb": (3, SIZE, SIZE)}, folder=folder, examples={"rgb": pictures(3)}
        )
        memory["_compiled"] = (subject.build().compile(request), request)
    compiled: tuple[Artefact, CompileRequest] = memory["_compiled"]
    return compiled


def _skip_elsewhere(subject: Subject, artefact: Artefact) -> None:
    """Skip a check of an opened file where this machine lacks the runtime, as the backend itself says; `open` must then say the same."""
    reason = absence(subject.piece)
    if reason is None:
        return
    try:
        subject.build().open(artefact.file)
    except MissingDependency as error:
        assert reason in str(error), f"`open` says '{error}', `not_run_here` '{reason}'"
        pytest.skip(reason)
    raise AssertionError(f"{reason}, but `open` opens the file")


def _ten(runner: Runner, images: np.ndarray) -> list[np.ndarray]:
    return [runner.run({"rgb": images}) for _ in range(10)]


def _agrees(found: np.ndarray, expected: np.ndarray, where: str = "opened again") -> None:
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert cosine(found, expected) >= 0.999 and error <= 0.02, f"{where}: off by {error:.2g} of the largest number"


def _expected(network: Any, images: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        result: np.ndarray = network(torch.from_numpy(images)).numpy()
    return result
