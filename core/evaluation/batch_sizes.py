"""What a file says of images alone, beside what it says of the same ones in a batch. Knows arrays, no model and no file.

A camera shows its frames one by one, accuracy is measured in batches, and a runtime may take another path for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgefw.evaluation.accuracy import agreement
from edgefw.evaluation.comparison import AGREEMENT, SUMMARY, length_ratios, relative_errors, row_cosines, summary, worst
from edgefw.evaluation.drop import Drop, worst_drop

BATCH_1 = "batch_1"
"""Key of what was found at batch 1, in a record and in each of its modalities."""
MOST_ALONE = 64
"""So many images of a modality, at most, are shown one by one."""
BESIDE = 8
"""So many of them are shown together, for the numbers to hold theirs against."""
COSINE_LOST = "cosine_lost"
"""Key of what images alone lose in mean cosine, against the same ones in the batches of the whole pass; negative where they gain."""

Predict = Callable[[np.ndarray], np.ndarray]
"""(N,) best labels of embeddings (N, D), -1 of what is no answer."""


@dataclass(frozen=True, kw_only=True)
class BothWays:
    """One model's embeddings (N, D) of the same images: each of them alone, and all of them in batches."""

    alone: np.ndarray
    batch: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of the images that are shown one by one.

    Attributes:
        rows: (N,) their positions among all images of the modality.
        source: (N, D) embeddings of the model that the file is compared with.
        labels: (N,) true labels, -1 without one.
        predict: gives labels; None where there are no texts.
    """

    rows: np.ndarray
    source: np.ndarray
    labels: np.ndarray
    predict: Predict | None = None


def spread(count: int) -> np.ndarray:
    """Positions of the images that are shown one by one: all of `count`, or `MOST_ALONE` evenly spread over them."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_ALONE)).astype(np.int64))


def batch_error(said: Iterable[BothWays]) -> float | None:
    """Largest relative error between an image alone and in its batch; None where there are no two to make one of."""
    errors = [relative_errors(own.alone, own.batch) for own in said if len(own.batch) > 1]
    return float(np.max(np.concatenate(errors))) if errors else None


def at_batch_1(own: BothWays, truth: Truth, cosines: np.ndarray) -> dict[str, Any]:
    """How far embeddings of images alone are from the source's of the same images: a summary, agreement, `cosine_lost`, and n.

    Args:
        own: what the file says of them.
        truth: what is known of them.
        cosines: (M,) of all M images of the modality, to the source, in the batches of the whole pass.
    """
    found = summary(*(measure(own.alone, truth.source) for measure in (row_cosines, relative_errors, length_ratios)))
    before = cosines[truth.rows]
    lost = None if found["cosine_mean"] is None else _mean(before) - found["cosine_mean"]
    return {**found, AGREEMENT: _agreement(own.alone, truth), COSINE_LOST: lost, "n": len(own.alone)}


def _mean(cosines: np.ndarray) -> float:
    return float(np.where(np.isnan(cosines), -1.0, cosines).mean())


def drop_at_batch_1(said: Mapping[str, BothWays], truths: Mapping[str, Truth]) -> Drop | None:
    """Points of top-1 that images alone lose against the source, of the modality that loses most; None without labels or texts."""
    right = {}
    for role, own in said.items():
        truth = truths[role]
        if truth.predict is not None and (known := truth.labels >= 0).any():
            one, other = (truth.predict(rows)[known] == truth.labels[known] for rows in (truth.source, own.alone))
            right[role] = one, other
    return worst_drop("top1", right)


def _agreement(alone: np.ndarray, truth: Truth) -> float | None:
    if truth.predict is None or not len(alone):
        return None
    return agreement(truth.predict(alone), truth.predict(truth.source))


def with_batch_1(
    distances: Mapping[str, Any],
    said: Mapping[str, BothWays],
    truths: Mapping[str, Truth],
    cosines: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """A record's distances, with those at batch 1 beside them: each modality's, and the worst with `drop`; None where there are none.

    Args:
        distances: of larger batches, with `modalities` by name.
        said: by modality, of a file that is compared with something; else empty.
        truths: by modality.
        cosines: see `at_batch_1`, by modality.
    """
    found = {role: at_batch_1(own, truths[role], cosines[role]) for role, own in said.items()}
    modalities = {name: {**row, BATCH_1: found.get(name)} for name, row in distances["modalities"].items()}
    drop = drop_at_batch_1(said, truths)
    keys = (*SUMMARY, AGREEMENT, COSINE_LOST)
    overall = {**worst(list(found.values()), keys), "drop": drop.to_json() if drop else None} if found else None
    return {**distances, BATCH_1: overall, "modalities": modalities}


def least_cosine(record: Mapping[str, Any]) -> float | None:
    """A record's mean cosine of the modality and batch size where it is smallest; None where nothing was compared.

    At batch 1 that is the mean over all images, less what those that were shown alone lose by it: they are few.
    """
    each = [_least(row) for row in record["modalities"].values() if row["cosine_mean"] is not None]
    return min(each) if each else None


def _least(row: Mapping[str, Any]) -> float:
    lost = (row[BATCH_1] or {}).get(COSINE_LOST)
    return float(row["cosine_mean"] - max(0.0, lost or 0.0))


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
