"""Search among held-out embeddings: text to image, image to text, and a sample's nearest neighbours. Labels decide.

Embeddings are kept for this alone, and for so many labelled samples only; sorting runs in blocks. It runs no model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgefw.evaluation.neighbours import leave_one_out_top1
from edgefw.evaluation.retrieval import retrieval_recall

if TYPE_CHECKING:
    from edgefw.stages.answers import Answers

MOST_SAMPLES = 4096
"""Embeddings that are kept of one model on one modality: 8 MB where they have 512 numbers."""
DEPTHS = (1, 5)
"""The k of R@k."""


def searched_rows(labels: np.ndarray) -> np.ndarray:
    """Positions, in order, of the labelled samples that are searched: all, or a draw that is always the same."""
    found = np.flatnonzero(labels >= 0)
    if len(found) <= MOST_SAMPLES:
        return found
    return np.sort(np.random.default_rng(0).choice(found, MOST_SAMPLES, replace=False))


class KeptEmbeddings:
    """One model's embeddings of the searched samples; rows that were not asked about stay NaN."""

    def __init__(self, rows: np.ndarray, count: int) -> None:
        self._place = np.full(count, -1, np.int64)
        self._place[rows] = np.arange(len(rows))
        self._kept = len(rows)
        self._values: np.ndarray | None = None  # (kept, D) float32

    def add(self, rows: np.ndarray, embeddings: np.ndarray) -> None:
        """Enter embeddings (B, D) of the samples at `rows` (B,); those that are not searched are passed over."""
        place = self._place[rows]
        if self._values is None:
            self._values = np.full((self._kept, embeddings.shape[1]), np.nan, np.float32)
        self._values[place[place >= 0]] = embeddings[place >= 0]

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings (n, D) of searched samples."""
        return np.zeros((0, 1), np.float32) if self._values is None else self._values[self._place[rows]]


def search_metrics(own: Answers) -> dict[str, tuple[float, int]]:
    """Metric -> (value 0..1, queries): `text_to_image_r1`, `_r5`, `image_to_text_r1`, `_r5`, `knn_top1`.

    A label's text finds images of that label, an image the text of its own; R@k is left out where k rows are all there
    are. Empty if a searched embedding is not finite, or nothing is labelled.
    """
    rows = own.questions.searched[own.seen[own.questions.searched]]
    embeddings, labels = own.kept.at(rows), own.questions.labels[rows]
    if not len(rows) or not np.isfinite(embeddings).all():
        return {}
    values = _retrieval(embeddings, labels, own.questions.text)
    repeated = int((np.bincount(labels)[labels] > 1).sum())
    return {**values, "knn_top1": (leave_one_out_top1(embeddings, labels), repeated)}


def _retrieval(embeddings: np.ndarray, labels: np.ndarray, text: np.ndarray | None) -> dict[str, tuple[float, int]]:
    if text is None:
        return {}
    found: dict[str, tuple[float, int]] = {}
    occurring = np.unique(labels)
    matches = occurring[:, None] == labels[None]
    for k in DEPTHS:
        if len(labels) > k:
            found[f"text_to_image_r{k}"] = retrieval_recall(text[occurring], embeddings, matches, k), len(occurring)
        if len(text) > k:
            found[f"image_to_text_r{k}"] = retrieval_recall(embeddings, text, labels, k), len(labels)
    return found
