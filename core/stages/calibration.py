"""Training images in batches, for the ranges of quantizers and for the examples that compiled files are checked on.

Every modality that a graph of one input serves has its rows, so that ranges fit all of them; a graph of several inputs
has one row per sample that has an image of each. One batch is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgefw.contracts.quantizer import Calibration
from edgefw.contracts.scheme import together
from edgefw.data.loading import read_image
from edgefw.errors import ExportError

if TYPE_CHECKING:
    from edgefw.contracts.dataset import Sample
    from edgefw.contracts.scheme import Signature
    from edgefw.stages.context import StageContext

_BATCH = 8
Row = tuple["Sample", Mapping[str, str]]
"""A sample, and which of its modalities each input of the graph is shown."""


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples, evenly spaced: listings are often sorted by class."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    return [samples[int(place)] for place in places] if len(samples) else []


class CalibrationImages:
    """Rows of a graph's inputs from training samples, sample by sample.

    Args:
        context: the run.
        samples: training samples.
        signature: the graph; of one input it is shown every modality that it serves, one after the other.
        names: of the graph's inputs.
    """

    def __init__(
        self, context: StageContext, samples: Sequence[Sample], signature: Signature, names: Sequence[str]
    ) -> None:
        pieces = context.pieces
        self._sensors = {name: pieces.modalities[name] for name in (*signature.inputs, *signature.serves)}
        self._contracts = {name: pieces.preprocessing(name) for name in self._sensors}
        self._rows = list(_rows(samples, signature, names))
        if not self._rows:
            wanted = " and ".join(signature.inputs) if len(names) > 1 else ", ".join(signature.serves)
            raise ExportError(f"no training sample has an image of {wanted} to calibrate with.")

    def calibration(self) -> Calibration:
        """All rows, in batches, as often as they are asked for."""
        shown = tuple(together(list(shown.values())) for _, shown in self._rows)
        return Calibration(batches=self._batches, samples=len(self._rows), modalities=shown)

    def examples(self, count: int) -> Mapping[str, np.ndarray]:
        """At least 3 rows and at most `count`; rows are repeated if there are fewer."""
        return self._stacked((self._rows * 3)[: max(3, min(count, len(self._rows)))])

    def _batches(self) -> Iterator[Mapping[str, np.ndarray]]:
        for start in range(0, len(self._rows), _BATCH):
            yield self._stacked(self._rows[start : start + _BATCH])

    def _stacked(self, rows: Sequence[Row]) -> dict[str, np.ndarray]:
        return {input: np.stack([self._image(sample, shown[input]) for sample, shown in rows]) for input in rows[0][1]}

    def _image(self, sample: Sample, name: str) -> np.ndarray:
        return self._contracts[name](read_image(sample, name, self._sensors[name]))


def _rows(samples: Sequence[Sample], signature: Signature, names: Sequence[str]) -> Iterator[Row]:
    for sample in samples:
        if len(names) > 1:
            if all(name in sample.images for name in signature.inputs):
                yield sample, dict(zip(names, signature.inputs, strict=True))
            continue
        for name in signature.serves:
            if name in sample.images:
                yield sample, {names[0]: name}
