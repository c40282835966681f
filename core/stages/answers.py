"""What models say about held-out samples, kept as one number per sample and question; embeddings of some, for search.

Arrays are aligned with the samples; a sample that lacks a modality stays at -1 or NaN. It knows arrays; it runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from edgefw.evaluation import predictions, zero_shot_scores
from edgefw.evaluation.comparison import length_ratios, relative_errors, row_cosines
from edgefw.stages.searched import KeptEmbeddings, searched_rows

MOST_SCORES = 4_000_000
"""Up to so many numbers, the scores of a model are kept, for metrics that need all of them."""


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What every model is asked: the K texts, and which label each of the N samples has (-1: none)."""

    labels: np.ndarray
    text: np.ndarray | None

    @property
    def keeps_scores(self) -> bool:
        """Whether scores are kept whole."""
        return self.text is not None and len(self.labels) * len(self.text) <= MOST_SCORES

    @cached_property
    def searched(self) -> np.ndarray:
        """Positions of the samples whose embeddings are kept."""
        return searched_rows(self.labels)


@dataclass
class Answers:
    """One model on one modality.

    Attributes:
        prediction: (N,) int64 best label, -1 where it was not asked.
        margin: (N,) score of the best label less that of the true one (or the teacher's), NaN where unknown.
        cosine: (N,) to the source model's embedding.
        error: (N,) relative error to it.
        length: (N,) its length over that of the source model's embedding.
        teacher_cosine: (N,) to the teacher's embedding of the scene's photograph.
        scores: (N, K) float32 cosines, NaN where it was not asked; None where there are too many.
        seen: (N,) bool, where it was asked.
        kept: embeddings of the samples that are searched.
    """

    questions: Questions
    prediction: np.ndarray = field(init=False)
    margin: np.ndarray = field(init=False)
    cosine: np.ndarray = field(init=False)
    error: np.ndarray = field(init=False)
    length: np.ndarray = field(init=False)
    teacher_cosine: np.ndarray = field(init=False)
    scores: np.ndarray | None = field(init=False)
    seen: np.ndarray = field(init=False)
    kept: KeptEmbeddings = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.questions.labels)
        self.prediction = np.full(count, -1, dtype=np.int64)
        self.seen = np.zeros(count, dtype=bool)
        self.kept = KeptEmbeddings(self.questions.searched, count)
        self.margin, self.cosine, self.error, self.length = (np.full(count, np.nan) for _ in range(4))
        self.teacher_cosine = np.full(count, np.nan)
        text, keeps = self.questions.text, self.questions.keeps_scores
        self.scores = np.full((count, len(text)), np.nan, np.float32) if text is not None and keeps else None

    def add(
        self,
        rows: np.ndarray,
        embeddings: np.ndarray,
        source: np.ndarray | None = None,
        teacher: np.ndarray | None = None,
        target: np.ndarray | None = None,
    ) -> None:
        """Enter embeddings (B, D) of the samples at `rows` (B,).

        Args:
            rows: positions of the samples.
            embeddings: what the model says.
            source: what its source model says, or None.
            teacher: the teacher's embeddings of the photographs, NaN rows without one; or None.
            target: (B,) the right label's index, -1 if unknown; for the margin.
        """
        self.seen[rows] = True
        self.kept.add(rows, embeddings)
        if source is not None:
            self.cosine[rows] = row_cosines(embeddings, source)
            self.error[rows] = relative_errors(embeddings, source)
            self.length[rows] = length_ratios(embeddings, source)
        if teacher is not None:
            self.teacher_cosine[rows] = row_cosines(embeddings, teacher)
        if self.questions.text is None:
            return
        scores = zero_shot_scores(embeddings, self.questions.text)
        self.prediction[rows] = predictions(scores)
        if self.scores is not None:
            self.scores[rows] = scores
        if target is not None:
            right = np.take_along_axis(scores, np.maximum(target, 0)[:, None], axis=1)[:, 0]
            self.margin[rows] = np.where(target >= 0, scores.max(axis=1) - right, np.nan)
