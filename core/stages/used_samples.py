"""Which samples a scheme trains on, where samples lack some of the recipe's modalities; and how that is told.

It asks schemes what they use (`edgefw.contracts.scheme.Choosing`) and knows none of them by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from edgefw.contracts.scheme import Choosing, together
from edgefw.errors import DataError

if TYPE_CHECKING:
    from edgefw.contracts.dataset import Sample
    from edgefw.contracts.scheme import Scheme


@dataclass(frozen=True)
class Used:
    """Of `of` samples, those that a scheme uses: `rows`, (M,) int64 positions, ascending."""

    rows: np.ndarray
    of: int

    @property
    def left_out(self) -> int:
        """How many samples give the scheme no row."""
        return self.of - len(self.rows)


def used_samples(scheme: Scheme, samples: Sequence[Sample], modalities: Sequence[str]) -> Used:
    """The samples that give the scheme a row; all of them, where it does not choose."""
    if not isinstance(scheme, Choosing):
        return all_used(len(samples))
    uses = lru_cache(maxsize=None)(scheme.uses)
    found = [uses(tuple(name for name in modalities if name in sample.images)) for sample in samples]
    return Used(np.flatnonzero(found), len(samples))


def all_used(count: int) -> Used:
    """Every one of `count` samples."""
    return Used(np.arange(count), count)


def told(used: Used, scheme: Scheme, name: str, modalities: Sequence[str], kind: str) -> str:
    """What is left out and why, as a sentence without an end; `kind` says what samples they are ("kept")."""
    return (
        f"{used.left_out:,} of {used.of:,} {kind} samples have no image that scheme '{name}' "
        f"({_wanted(scheme, modalities)}) can use"
    )


def refuse_none(used: Used, scheme: Scheme, name: str, modalities: Sequence[str], path: str) -> None:
    """Refuse a scheme that is left without a sample.

    Raises:
        DataError: naming what the scheme can use.
    """
    if len(used.rows):
        return
    raise DataError(
        f"{path}: '{name}' trains on samples with {_wanted(scheme, modalities)}, and none of the {used.of:,} training "
        "samples is one. Add such samples, keep more of them, or choose a scheme for the images that are there."
    )


def _wanted(scheme: Scheme, modalities: Sequence[str]) -> str:
    """The smallest sets of modalities that a sample is used with: "depth", "rgb+depth or rgb+nir"."""
    return " or ".join(together(least) for least in _least(scheme, modalities)) or "no modality of the recipe"


def _least(scheme: Scheme, modalities: Sequence[str]) -> Iterator[tuple[str, ...]]:
    found: list[Collection[str]] = []
    for size in range(1, len(modalities) + 1):
        for present in combinations(modalities, size):
            smaller = any(set(least) <= set(present) for least in found)
            if not smaller and isinstance(scheme, Choosing) and scheme.uses(present):
                found.append(present)
                yield present
