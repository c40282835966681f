"""Recall at k of searching a gallery with queries. Knows rows and which of them match, not what they show."""

from __future__ import annotations

import numpy as np

from edgefw.evaluation.similarity import unit_rows

_CELLS = 2**22


def retrieval_recall(queries: np.ndarray, gallery: np.ndarray, relevant: np.ndarray, k: int = 1) -> float:
    """Fraction of queries with a match among their k nearest gallery rows by cosine, 0..1.

    Args:
        queries: (N, D).
        gallery: (M, D).
        relevant: (N,) int, the gallery row that matches each query, below 0 for none; or (N, M) bool, all that match.
        k: how many rows are returned; more than M means all.

    Queries without any match are left out. Of equal cosines the earlier gallery row comes first. This is the R@k of
    image-text retrieval (Karpathy and Fei-Fei 2015, arXiv:1412.2306, section 4.1). Queries are compared in blocks of at
    most 2^22 cosines, 32 MB.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if len(relevant) != len(queries):
        raise ValueError(f"{len(queries)} queries and {len(relevant)} rows of matches")
    index, rows = unit_rows(gallery).T, max(1, _CELLS // max(1, len(gallery)))
    hits = [
        _hits(unit_rows(queries[at : at + rows]) @ index, relevant[at : at + rows], k)
        for at in range(0, len(queries), rows)
    ]
    found = np.concatenate(hits) if hits else np.zeros(0)
    return float(found.mean()) if len(found) else float("nan")


def _hits(cosines: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    if relevant.ndim == 1:
        found: np.ndarray = np.any(nearest == relevant[:, None], axis=1)
        return found[relevant >= 0]
    matching = relevant.astype(bool)
    found = np.any(np.take_along_axis(matching, nearest, axis=1), axis=1)
    return found[np.any(matching, axis=1)]
