"""How far a compiled model's embeddings are from its source's, row by row. Knows arrays, no model and no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SUMMARY = ("cosine_mean", "cosine_p1", "cosine_min", "relative_error_mean", "relative_error_max", "length_error")
"""Keys of `summary`."""
AGREEMENT = "top1_agreement"
_SMALLER_IS_WORSE = ("cosine_mean", "cosine_p1", "cosine_min", AGREEMENT)


def row_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows, (N,) float64 of (N, D) and (N, D); two zero rows agree, NaN stays NaN."""
    one, other = _pair(first, second)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    both_zero = ~one.any(axis=1) & ~other.any(axis=1)
    products = (one * other).sum(axis=1)
    cosines = np.divide(products, lengths, out=np.zeros(len(one)), where=lengths != 0)
    return np.where(both_zero, 1.0, np.clip(cosines, -1.0, 1.0))


def relative_errors(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """|actual - expected| / |expected| of each row, L2 norms, (N,) float64; inf where only the expected row is zero.

    A cosine is blind to scale, an absolute error is blind to the scale of the embedding: this sees both.
    """
    one, other = _pair(actual, expected)
    error, size = np.linalg.norm(one - other, axis=1), np.linalg.norm(other, axis=1)
    return np.where(error == 0, 0.0, np.divide(error, size, out=np.full(len(one), np.inf), where=size != 0))


def length_ratios(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """|actual| / |expected| of each row, L2 norms, (N,) float64; 1 of two zero rows, inf where only the expected row is zero."""
    length, size = (np.linalg.norm(rows, axis=1) for rows in _pair(actual, expected))
    return np.where(length == size, 1.0, np.divide(length, size, out=np.full(len(size), np.inf), where=size != 0))


def summary(cosines: np.ndarray, errors: np.ndarray, ratios: np.ndarray) -> dict[str, Any]:
    """Mean, first percentile and minimum of the cosines, mean and maximum of the errors, and `length_error`; None without rows.

    `length_error` is |median ratio - 1|: of rows that are all too long or too short by a factor, how far that is from 1.
    A row that is not a number counts as the worst that can be: cosine -1, error and length infinite.

    Args:
        cosines: of `row_cosines`, (N,).
        errors: of `relative_errors`, (N,).
        ratios: of `length_ratios`, (N,).
    """
    if not len(cosines):
        return dict.fromkeys(SUMMARY)
    cosines = np.where(np.isnan(cosines), -1.0, cosines)
    errors = np.where(np.isnan(errors), np.inf, errors)
    ratios = np.where(np.isnan(ratios), np.inf, ratios)
    return {
        "cosine_mean": float(cosines.mean()),
        "cosine_p1": float(np.percentile(cosines, 1)),
        "cosine_min": float(cosines.min()),
        "relative_error_mean": float(errors.mean()),
        "relative_error_max": float(errors.max()),
        "length_error": float(abs(np.median(ratios) - 1.0)),
    }


def worst(rows: Sequence[Mapping[str, Any]], keys: Sequence[str] = (*SUMMARY, AGREEMENT)) -> dict[str, Any]:
    """The worst number of several summaries, key by key; None where none has one."""
    known = {key: [row[key] for row in rows if row.get(key) is not None] for key in keys}
    return {
        key: (min(values) if key in _SMALLER_IS_WORSE else max(values)) if values else None
        for key, values in known.items()
    }


def _pair(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"expected two (N, D) of one shape, got {first.shape} and {second.shape}")
    return first.astype(np.float64), second.astype(np.float64)
