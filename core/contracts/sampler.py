"""A sampler: which samples form a batch, epoch by epoch, reproducibly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class SampleTable:
    """What a sampler may know of the N training samples.

    Attributes:
        size: N.
        label: (N,) int64 labels or pseudo-labels, -1 without one; None when the run has none.
        embedding: (N, D) memory-mapped embeddings of this epoch, for samplers that set `needs_embeddings`.
    """

    size: int
    label: np.ndarray | None = None
    embedding: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Pick:
    """One place in a batch: the sample's index, its group in the batch, and its role in the group (0 is the anchor).

    `view` tells several views of one sample in one batch apart: 0 is the clean one, 1.. are varied. None, in all other
    batches: the sample stands there once, as the view draws it.
    """

    index: int
    group: int = 0
    role: int = 0
    view: int | None = None


class Sampler(Protocol):
    """Batches of an epoch, a pure function of (table, epoch, seed): a resumed run draws what it would have drawn.

    A sampler with `needs_embeddings` mines: the table's embeddings are of unit length, or as the student gives them
    where it also has `unit_embeddings = False`. Any sampler may have `report() -> Mapping[str, float]`, numbers about
    the batches it drew last; they go to the metrics at the beginning of each epoch (`Reporting`).
    """

    needs_embeddings: bool

    def batches(self, table: SampleTable, batch: int, epoch: int, seed: int) -> Iterator[Sequence[Pick]]:
        """Full batches of `batch` picks (anchors, for groups); what is left over at the end of an epoch is dropped.

        Raises:
            DataError: when not one batch can be formed; the message says what is missing. A sampler that mines may give
                no batch after the first epoch (number 0): such an epoch is passed over.
        """
        ...

    def length(self, table: SampleTable, batch: int) -> int:
        """How many batches an epoch has; an upper bound where that depends on mining."""
        ...


@runtime_checkable
class Reporting(Protocol):
    """A sampler that says what it found."""

    def report(self) -> Mapping[str, float]:
        """Numbers about the epoch whose first batch was drawn last; names are words joined by underscores."""
        ...
