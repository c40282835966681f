"""Area under the ROC curve of each class against the rest. Knows ranks of scores, no thresholds."""

from __future__ import annotations

import numpy as np


def auc_per_class(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AUC of each class against all others, (K,) float64 in 0..1; NaN where a class or its rest has no row.

    Args:
        scores: (N, K), higher means more like the class; finite.
        labels: (N,) int; rows below 0 are left out.

    Formula: the Mann-Whitney statistic, ties counting one half: (R - p (p + 1) / 2) / (p n), with R the sum of the p
    positives' average ranks and n the number of negatives (Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747).
    """
    if scores.ndim != 2 or len(scores) != len(labels):
        raise ValueError(f"scores {scores.shape} do not fit {len(labels)} labels")
    kept = np.asarray(labels) >= 0
    truth, known = np.asarray(labels)[kept], scores[kept]
    return auc_of_present(known, truth[:, None] == np.arange(scores.shape[1]))


def auc_of_present(scores: np.ndarray, present: np.ndarray) -> np.ndarray:
    """AUC of each class where an image may show several, (K,) float64; NaN where all images show it, or none does.

    Args:
        scores: (N, K), higher means more like the class; finite.
        present: (N, K) bool, whether the image shows the class.
    """
    if scores.ndim != 2 or scores.shape != present.shape:
        raise ValueError(f"scores {scores.shape} do not fit classes {present.shape}")
    return np.array([_auc(scores[:, k], present[:, k]) for k in range(scores.shape[1])], dtype=np.float64)


def auc_one_vs_rest(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean AUC over the classes that have one, 0..1. Arguments as in `auc_per_class`."""
    values = auc_per_class(scores, labels)
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of theirs, (N,) float64."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2.0)[place]


def _auc(scores: np.ndarray, positive: np.ndarray) -> float:
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    rank_sum = float(average_ranks(scores)[positive].sum())
    return (rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives)
