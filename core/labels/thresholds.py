"""Per label, the threshold that reaches a wanted precision or recall on validation images.

A label is said of an image if it is the best one, no negative beats it, and its probability reaches the threshold. Of the
images that label k is the best of, unbeaten, the surest j are taken:

    precision_j = right among the j / j              recall_j = right among the j / all images of label k

For a wanted precision the largest such j is taken, which says the label as often as it may; for a wanted recall the
smallest, which errs least. The threshold lies half-way between the last image that is taken and the next one; where all
are, it is 0: the label needs none beside being the best. Images of no label count as wrong.

Where images show several labels, each is asked alone (`choose_alone`), as a camera's trigger asks: it holds in an image if
no negative beats it and its probability reaches the threshold, be it the best one or not. Where all images are taken it is
`EVERY`, for a trigger takes 0 for none. It measures; whether a hundred images are enough for a promise, the user knows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgefw.runtime.label_pack import LabelPack
from edgefw.runtime.pack_scores import Scores

Aim = Literal["precision", "recall"]
EVERY = 1e-300
"""A threshold that every probability reaches; 0 in a pack means that a label has none."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What was found for one label.

    Attributes:
        label: its name.
        value: the threshold, 0..1; of a label without images what it was.
        n: validation images of the label.
        precision: of what is said, on these images; None where the label is not said.
        recall: of the label's images; None without any.
        met: whether the aim is reached; without an image, the threshold stays as it was and this is False.
    """

    label: str
    value: float
    n: int
    precision: float | None
    recall: float | None
    met: bool


def choose(pack: LabelPack, scores: Scores, labels: np.ndarray, aim: Aim, wanted: float) -> list[Threshold]:
    """A threshold for each label of the pack.

    Args:
        pack: in whose order the columns stand.
        scores: of the images by that pack.
        labels: (N,) int; -1 for an image of no label.
        aim: what must be reached.
        wanted: 0..1.
    """
    columns = np.arange(len(pack.labels))
    best = scores.probabilities.argmax(axis=1)[:, None] == columns
    return _of_all(pack, scores, best, labels[:, None] == columns, aim, wanted, every=0.0)


def choose_alone(pack: LabelPack, scores: Scores, present: np.ndarray, aim: Aim, wanted: float) -> list[Threshold]:
    """A threshold for each label of the pack, one against the rest: whatever else is in an image.

    Args:
        pack: in whose order the columns stand.
        scores: of the images by that pack.
        present: (N, K) bool, whether the image shows the label.
        aim: what must be reached.
        wanted: 0..1.
    """
    return _of_all(pack, scores, np.ones(present.shape, bool), present, aim, wanted, every=EVERY)


def with_thresholds(pack: LabelPack, found: list[Threshold]) -> LabelPack:
    """The pack with these thresholds."""
    labels = [replace(label, threshold=one.value) for label, one in zip(pack.labels, found, strict=True)]
    return replace(pack, labels=labels)


def _of_all(
    pack: LabelPack,
    scores: Scores,
    asked: np.ndarray,
    present: np.ndarray,
    aim: Aim,
    wanted: float,
    every: float,
) -> list[Threshold]:
    """`asked` (N, K) bool: where the label is said once its probability suffices, and nothing beats it.

    `every` is the threshold that takes all of them.
    """
    found = []
    for at, label in enumerate(pack.labels):
        said, n = asked[:, at] & ~scores.beaten[:, at], int(present[:, at].sum())
        if n:
            found.append(_of_one(label.name, scores.probabilities[said, at], present[said, at], n, aim, wanted, every))
        else:
            kept = Threshold(label=label.name, value=label.threshold, n=0, precision=None, recall=None, met=False)
            found.append(kept)
    return found


def _of_one(
    name: str, scores: np.ndarray, right: np.ndarray, n: int, aim: Aim, wanted: float, every: float
) -> Threshold:
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(right[order])
    ends = [j for j in range(1, len(scores) + 1) if j == len(scores) or scores[j] < scores[j - 1]]  # ties go together
    fits = [j for j in ends if hits[j - 1] / (j if aim == "precision" else n) >= wanted]
    if not fits:  # never said, or said whenever it can be
        value, taken = (1.0, int((scores >= 1.0).sum())) if aim == "precision" else (every, len(scores))
    else:
        taken = max(fits) if aim == "precision" else min(fits)
        value = every if taken == len(scores) else _between(scores, taken)
    right_ones = int(hits[taken - 1]) if taken else 0
    return Threshold(
        label=name,
        value=value,
        n=n,
        precision=right_ones / taken if taken else None,
        recall=right_ones / n,
        met=bool(fits),
    )


def _between(scores: np.ndarray, taken: int) -> float:
    middle = (scores[taken - 1] + scores[taken]) / 2
    return float(middle if middle > scores[taken] else scores[taken - 1])
