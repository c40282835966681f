"""Training images in batches, for the ranges of quantizers and for the examples that compiled files are checked on.

Every modality that a graph serves has its rows, so that ranges fit all of them. One batch is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgefw.contracts.quantizer import Calibration
from edgefw.data.loading import read_image
from edgefw.errors import ExportError

if TYPE_CHECKING:
    from edgefw.contracts.dataset import Sample
    from edgefw.contracts.scheme import Signature
    from edgefw.stages.context import StageContext

_BATCH = 8


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples, evenly spaced: listings are often sorted by class."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    return [samples[int(place)] for place in places] if len(samples) else []


class CalibrationImages:
    """Rows of a graph's input from training samples, sample by sample, each in every modality that the graph serves."""

    def __init__(self, context: StageContext, samples: Sequence[Sample], signature: Signature, input: str) -> None:
        pieces = context.pieces
        self._sensors = {name: pieces.modalities[name] for name in signature.serves}
        self._contracts = {
            name: sensor.preprocessing(pieces.student_spec.input) for name, sensor in self._sensors.items()
        }
        self._input = input
        self._pairs = [(sample, name) for sample in samples for name in self._sensors if name in sample.images]
        if not self._pairs:
            raise ExportError(f"no training sample has an image of {', '.join(signature.serves)} to calibrate with.")

    def calibration(self) -> Calibration:
        """All rows, in batches, as often as they are asked for."""
        return Calibration(batches=self._batches, samples=len(self._pairs))

    def examples(self, count: int) -> Mapping[str, np.ndarray]:
        """At least 3 rows and at most `count`; rows are repeated if there are fewer."""
        pairs = (self._pairs * 3)[: max(3, min(count, len(self._pairs)))]
        return {self._input: np.stack([self._row(*pair) for pair in pairs])}

    def _batches(self) -> Iterator[Mapping[str, np.ndarray]]:
        for start in range(0, len(self._pairs), _BATCH):
            yield {self._input: np.stack([self._row(*pair) for pair in self._pairs[start : start + _BATCH]])}

    def _row(self, sample: Sample, name: str) -> np.ndarray:
        return self._contracts[name](read_image(sample, name, self._sensors[name]))
