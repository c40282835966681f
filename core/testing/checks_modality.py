"""Promises of a modality, see `edgefw.contracts.modality`."""

from __future__ import annotations

import json
from functools import partial

import numpy as np

from edgefw.contracts.student import InputSpec
from edgefw.errors import CapabilityError, DataError
from edgefw.runtime.preprocessing import Preprocessing
from edgefw.testing.clean_import import imports_of
from edgefw.testing.interleaved import interleaved
from edgefw.testing.sensor_files import damaged, sensor_files
from edgefw.testing.subject import Subject

_THREADS, _TIMES = 4, 3
"""Threads that decode at the same time, and how often each decodes every file."""


def decodes_a_file_of_its_sensor(subject: Subject) -> None:
    """At least one common sort of image file is decoded, to (H, W) or (H, W, C) of the image's size."""
    found = _decoded(subject)
    assert found, f"none of {', '.join(sensor_files())} is an image of this sensor"
    for name, values in found.items():
        assert values.ndim in (2, 3) and values.shape[:2] == (30, 40), f"{name}: {values.shape}"


def says_what_it_is(subject: Subject) -> None:
    """`name`, `colour` and `unit` are stated."""
    modality = subject.piece
    assert isinstance(modality.name, str) and modality.name
    assert isinstance(modality.colour, bool) and isinstance(modality.unit, str) and modality.unit


def damaged_files_are_data_errors(subject: Subject) -> None:
    """Empty, cut and garbled files are a DataError that starts with where the file is, or an image; nothing else."""
    modality = subject.piece
    for name in _decoded(subject):
        for damage, data in damaged(sensor_files()[name]).items():
            try:
                values = modality.decode(data, "folder/file.png")
            except DataError as error:
                assert str(error).startswith("folder/file.png"), f"{damage}: {error}"
                continue
            assert damage not in ("empty", "a text"), f"{name}: {damage} was decoded to {values.shape}"


def decoding_is_deterministic(subject: Subject) -> None:
    """The same bytes give the same values."""
    for name, values in _decoded(subject).items():
        again = subject.build().decode(sensor_files()[name], name)
        assert np.array_equal(values, again, equal_nan=values.dtype.kind == "f"), name


def decoding_bears_threads(subject: Subject) -> None:
    """One piece decodes unlike files in several threads at the same time, and gives each one's own values."""
    decode = subject.piece.decode
    expected = [(name, seed, values) for seed in (0, 1) for name, values in _decoded(subject, seed).items()]
    files = [(sensor_files(seed)[name], name) for name, seed, _ in expected]
    orders = [[*range(first, len(files)), *range(first)] for first in range(min(_THREADS, len(files)))]

    def decoded(order: list[int]) -> list[tuple[int, np.ndarray]]:
        return [(at, decode(*files[at])) for at in order * _TIMES]

    found = interleaved([partial(decoded, order) for order in orders])
    for at, values in (one for own in found for one in own):
        name, _, own = expected[at]
        assert np.array_equal(values, own, equal_nan=own.dtype.kind == "f"), f"{name}: does `decode` keep anything?"


def preprocessing_gives_the_students_input(subject: Subject) -> None:
    """Decoded values become (C, size, size) float32 without holes, for three channels or for as many as there are."""
    modality, tried = subject.piece, 0
    for name, values in _decoded(subject).items():
        for channels in sorted({3, values.shape[2] if values.ndim == 3 else 1}):
            input = InputSpec(size=24, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)
            try:
                result = modality.preprocessing(input)(values)
            except CapabilityError:
                continue
            tried += 1
            assert result.shape == (channels, 24, 24) and result.dtype == np.float32, (
                f"{name}: {result.shape} {result.dtype}"
            )
            assert np.isfinite(result).all(), f"{name}: not finite"
    assert tried, "no student input fits"


def preprocessing_survives_the_bundle(subject: Subject) -> None:
    """Written as JSON and read again on the device, the preprocessing gives the same bits."""
    modality = subject.piece
    for name, values in _decoded(subject).items():
        channels = values.shape[2] if values.ndim == 3 else 3
        try:
            contract = modality.preprocessing(
                InputSpec(size=16, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)
            )
        except CapabilityError:
            continue
        again = Preprocessing.from_json(json.loads(json.dumps(contract.to_json())))
        assert np.array_equal(contract(values), again(values)), name


def pictures_can_be_looked_at(subject: Subject) -> None:
    """`picture` gives an (H, W, 3) uint8 image of the size of the values, and leaves them as they are."""
    for name, values in _decoded(subject).items():
        before = values.copy()
        picture = subject.piece.picture(values)
        assert picture.shape == (*values.shape[:2], 3) and picture.dtype == np.uint8, (
            f"{name}: {picture.shape} {picture.dtype}"
        )
        assert np.array_equal(values, before, equal_nan=values.dtype.kind == "f"), f"{name}: the values were changed"


def imports_no_torch(subject: Subject) -> None:
    """Importing the module does not import torch: the device runs the same code."""
    assert "torch" not in imports_of(subject.ref.module)


CHECKS = (
    decodes_a_file_of_its_sensor,
    says_what_it_is,
    damaged_files_are_data_errors,
    decoding_is_deterministic,
    decoding_bears_threads,
    preprocessing_gives_the_students_input,
    preprocessing_survives_the_bundle,
    pictures_can_be_looked_at,
    imports_no_torch,
)


def _decoded(subject: Subject, seed: int = 0) -> dict[str, np.ndarray]:
    """The files that this sensor's decoder takes."""
    found = {}
    for name, data in sensor_files(seed).items():
        try:
            found[name] = subject.piece.decode(data, name)
        except DataError:
            continue
    return found
