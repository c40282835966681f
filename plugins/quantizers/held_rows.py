"""Which calibration rows a quantizer judges itself on, apart from those that its ranges follow from.

Rows are often sorted by class, and modalities alternate, so the judged ones are spread over all, each modality by itself. A modality with fewer
than four rows is judged on all of them, and keeps them for its ranges too. It knows row numbers and arrays; it runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edgefw.contracts.quantizer import Calibration

_LEAST = 4


@dataclass(frozen=True, kw_only=True)
class HeldRows:
    """Row numbers, ascending: of each modality those to judge on, and all that ranges do without."""

    judged: Mapping[str, np.ndarray]
    left_out: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """All judged rows, ascending."""
        return np.sort(np.concatenate([*self.judged.values()]))


def held_rows(calibration: Calibration, most: int) -> HeldRows:
    """At most `most` rows, as many of each modality, and no more than a quarter of its rows."""
    names = np.array(calibration.modalities or [""] * calibration.samples)
    known = list(dict.fromkeys(names.tolist()))
    judged: dict[str, np.ndarray] = {}
    left_out = [np.zeros(0, np.int64)]
    for name in known:
        own = np.flatnonzero(names == name)
        if len(own) < _LEAST:
            judged[name] = own
            continue
        count = max(1, min(most // len(known), len(own) // _LEAST))
        judged[name] = own[((np.arange(count) + 0.5) * len(own) / count).astype(int)]
        left_out.append(judged[name])
    return HeldRows(judged=judged, left_out=np.sort(np.concatenate(left_out)))


def without(calibration: Calibration, rows: np.ndarray) -> Calibration:
    """The calibration data without these rows."""

    def batches() -> Iterator[Mapping[str, np.ndarray]]:
        for numbers, batch in _numbered(calibration):
            kept = ~np.isin(numbers, rows)
            if kept.any():
                yield {name: values[kept] for name, values in batch.items()}

    gone = set(rows.tolist())
    names = [name for number, name in enumerate(calibration.modalities) if number not in gone]
    return Calibration(batches=batches, samples=calibration.samples - len(rows), modalities=tuple(names))


def only(calibration: Calibration, rows: np.ndarray) -> dict[str, np.ndarray]:
    """These rows, in order, {input name: (len(rows), C, H, W)}; the pass ends at the last of them."""
    found: list[dict[str, np.ndarray]] = []
    for numbers, batch in _numbered(calibration):
        kept = np.isin(numbers, rows)
        if kept.any():
            found.append({name: values[kept] for name, values in batch.items()})
        if numbers[-1] >= rows[-1]:
            break
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _numbered(calibration: Calibration) -> Iterator[tuple[np.ndarray, Mapping[str, np.ndarray]]]:
    """Batches with the numbers of their rows; empty batches are passed over."""
    start = 0
    for batch in calibration.batches():
        count = len(next(iter(batch.values())))
        if count:
            yield np.arange(start, start + count), batch
        start += count
