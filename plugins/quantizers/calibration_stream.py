"""Feeds calibration samples to ONNX Runtime chunk by chunk, so that memory does not grow with their number.

A collection of onnxruntime.quantization keeps what each of its chunks gave; whoever reads a stride of one chunk per collection
keeps one. Knows ONNX Runtime's reader protocol; decodes nothing and decides no range.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from edgefw.contracts.quantizer import Calibration
from edgefw.errors import ExportError


class CalibrationStream:
    """ONNX Runtime's `CalibrationDataReader` over a stream; `len` counts chunks, the last one may be smaller."""

    def __init__(self, calibration: Calibration, chunk: int) -> None:
        if calibration.samples < 1:
            raise ExportError("there is no calibration sample. Give training data, or export.calibration.")
        self._length = -(-calibration.samples // chunk)
        self._expected = calibration.samples
        self._chunks = rechunked(calibration.batches(), chunk)
        self._open = 0

    def __len__(self) -> int:
        return self._length

    def set_range(self, start_index: int, end_index: int) -> None:
        """Open the next stride; strides come in order, so the stream never goes back."""
        self._open = end_index - start_index

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next chunk of the open stride; None at its end, as ONNX Runtime wants it."""
        if self._open == 0:
            return None
        self._open -= 1
        chunk = next(self._chunks, None)
        if chunk is None:
            raise ExportError(f"the calibration data end before the promised {self._expected} samples.")
        return chunk


def rechunked(batches: Iterable[Mapping[str, np.ndarray]], size: int) -> Iterator[dict[str, np.ndarray]]:
    """The same rows in the same order, `size` at a time; holds at most one batch and one chunk."""
    held: dict[str, np.ndarray] = {}
    for batch in batches:
        held = {name: np.concatenate([held[name], rows]) if held else rows for name, rows in batch.items()}
        while held and len(next(iter(held.values()))) >= size:
            yield {name: rows[:size] for name, rows in held.items()}
            held = {name: rows[size:] for name, rows in held.items()}
        if held and not len(next(iter(held.values()))):
            held = {}
    if held:
        yield held
