"""What a file says of images alone, beside what it says of the same ones in a batch. Knows arrays, no model and no file.

A camera shows its frames one by one, accuracy is measured in batches, and a runtime may take another path for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgefw.evaluation.comparison import SUMMARY, length_ratios, relative_errors, row_cosines, summary, worst

BATCH_1 = "batch_1"
"""Key of what was found at batch 1, in a record and in each of its modalities."""


@dataclass(frozen=True, kw_only=True)
class BothWays:
    """One model's embeddings (N, D) of the same images: each of them alone, and all of them in one batch."""

    alone: np.ndarray
    batch: np.ndarray


def batch_error(said: Iterable[BothWays]) -> float | None:
    """Largest relative error between an image alone and in its batch; None where there are no two to make one of."""
    errors = [relative_errors(own.alone, own.batch) for own in said if len(own.batch) > 1]
    return float(np.max(np.concatenate(errors))) if errors else None


def at_batch_1(alone: np.ndarray, source: np.ndarray) -> dict[str, Any]:
    """How far embeddings of images alone (N, D) are from the source's of the same images (N, D): a summary, and n."""
    found = summary(row_cosines(alone, source), relative_errors(alone, source), length_ratios(alone, source))
    return {**found, "n": len(alone)}


def with_batch_1(distances: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A record's distances, with those at batch 1 beside them: each modality's, and the worst; None where there are none.

    Args:
        distances: of larger batches, with `modalities` by name.
        found: modality -> `at_batch_1`.
    """
    modalities = {name: {**row, BATCH_1: found.get(name)} for name, row in distances["modalities"].items()}
    return {
        **distances,
        BATCH_1: worst(list(found.values()), SUMMARY) if found else None,
        "modalities": modalities,
    }


def largest_error(record: Mapping[str, Any]) -> float | None:
    """A record's relative error on the worst image, at either batch size; None where nothing was compared."""
    return _larger(record, "relative_error_max")


def largest_length_error(record: Mapping[str, Any]) -> float | None:
    """A record's `length_error` at the batch size where it is larger; None where nothing was compared."""
    return _larger(record, "length_error")


def _larger(record: Mapping[str, Any], key: str) -> float | None:
    both = [row[key] for row in (record, record[BATCH_1]) if row is not None]
    known = [value for value in both if value is not None]
    return max(known) if known else None
