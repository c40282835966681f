"""Does a confidence of 0.8 mean right in 8 of 10 cases? Knows probabilities and labels, no way to repair them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ReliabilityBin:
    """The rows whose confidence lies in (low, high].

    Attributes:
        confidence: mean of the largest probabilities, 0..1.
        accuracy: fraction that is right, 0..1.
        n: number of rows; empty bins are not listed.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    n: int


def softmax(scores: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Probabilities (N, K) of scores (N, K) times `scale` (a teacher's factor on cosines, or 1 / temperature)."""
    scaled = np.asarray(scores, dtype=np.float64) * scale
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> list[ReliabilityBin]:
    """Confidence and accuracy in bins of equal width, from low to high; empty bins are left out.

    Args:
        probabilities: (N, K), rows summing to 1.
        labels: (N,) int; rows below 0 are left out.
        bins: number of bins over 0..1.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    kept = np.asarray(labels) >= 0
    sure, truth = probabilities[kept], np.asarray(labels)[kept]
    if not len(truth):
        return []
    confidence, right = sure.max(axis=1), sure.argmax(axis=1) == truth
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    return [
        ReliabilityBin(
            low=float(edges[at]),
            high=float(edges[at + 1]),
            confidence=float(confidence[place == at].mean()),
            accuracy=float(right[place == at].mean()),
            n=int((place == at).sum()),
        )
        for at in np.unique(place)
    ]


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Mean distance of confidence and accuracy over the bins, weighted by their rows, 0..1. Arguments as above.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    table = reliability(probabilities, labels, bins)
    total = sum(row.n for row in table)
    if not total:
        return float("nan")
    return float(sum(row.n * abs(row.confidence - row.accuracy) for row in table) / total)
