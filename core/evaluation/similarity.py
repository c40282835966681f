"""Cosines between rows. Knows nothing of labels: it turns embeddings into scores and stops there."""

from __future__ import annotations

import numpy as np


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Rows of length 1, (N, D) float64; an all-zero row stays zero.

    Raises:
        ValueError: if `values` is not two-dimensional.
    """
    if values.ndim != 2:
        raise ValueError(f"expected rows (N, D), got shape {values.shape}")
    rows = np.asarray(values, dtype=np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)  # first, so that the square cannot overflow
    scaled = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    units: np.ndarray = np.divide(scaled, length, out=scaled, where=length > 0)
    return units


def zero_shot_scores(embeddings: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Cosines of images and label texts, (N, K) float64 in -1..1.

    Args:
        embeddings: image embeddings, (N, D); normalised here.
        text: text embeddings, (K, D); normalised here.

    Source: Radford et al. 2021, arXiv:2103.00020, section 3.1 (zero-shot classification by text embeddings).
    """
    if embeddings.shape[1:] != text.shape[1:]:
        raise ValueError(f"embeddings are {embeddings.shape[1:]} wide and texts {text.shape[1:]}")
    cosines: np.ndarray = np.clip(unit_rows(embeddings) @ unit_rows(text).T, -1.0, 1.0)
    return cosines
