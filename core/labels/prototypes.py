"""Refine a label pack with a few labelled images: each label's vector moves from its text towards its examples.

    g   = mean over labels with examples of (mean_i x_ki - t_k)          what sets all images apart from all texts
    v_k = unit(weight * t_k + sum_i (x_ki - g))                          the text counts as `weight` examples

x are unit embeddings of examples, t_k the unit mean of the label's vectors. `weight`, infinity (the pack as it was)
among its values, and one factor on all temperatures are those of the smallest log loss when every example is left
out in turn: its label then has one example less, or only its text. A label without examples keeps its vectors, and
because g is taken off it can still win; so can a negative, which keeps its vectors too. Synonyms of a label with
examples become one vector. NumPy alone; the encoder stays as it is.

Sources: a class as the mean of its embeddings, Snell et al. 2017, Prototypical Networks, arXiv:1703.05175, section 2;
the constant g between images and texts, Liang et al. 2022, Mind the Gap, arXiv:2203.02053, section 4; one temperature,
Guo et al. 2017, arXiv:1706.04599, section 4. The weight as a count of examples, and its choice, are ours.
It does not learn directions (the logistic head does), and says nothing about images of no label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from edgefw.errors import DataError
from edgefw.evaluation.calibration import softmax
from edgefw.labels.examples import Examples
from edgefw.runtime.label_pack import Label, LabelPack

WEIGHTS = (np.inf, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25)
FACTORS = (1.0, 0.125, 0.25, 0.5, 2.0, 4.0, 8.0, 16.0)
"""Candidates; of equals the first is taken, which changes less."""


@dataclass(frozen=True, kw_only=True)
class Refined:
    """A refined pack and how it came about.

    Attributes:
        pack: trigger, thresholds and biases as they were.
        weight: examples that a text counts as; infinity: the vectors stay.
        factor: on all temperatures.
        before: (top-1, log loss) of the examples by the pack as it was.
        after: the same with every example left out of what it is judged by.
    """

    pack: LabelPack
    weight: float
    factor: float
    before: tuple[float, float]
    after: tuple[float, float]


def refine(pack: LabelPack, examples: Examples) -> Refined:
    """The pack with vectors moved towards the examples.

    Raises:
        DataError: if fewer than two labels have examples: what tells them apart is then unknown.
    """
    check_labels(pack, examples)
    texts, given = text_vectors(pack), pack.all_cosines(examples.embeddings.astype(np.float32)).astype(np.float64)
    before = judged(pack, given, 1.0, examples.labels)
    best = (np.inf, 1.0, *before)
    for weight in WEIGHTS:
        cosines = left_out_cosines(texts, given, examples, weight)
        for factor in FACTORS:
            top1, loss = judged(pack, cosines, factor, examples.labels)
            if loss < best[3] - 1e-12:
                best = (weight, factor, top1, loss)
    weight, factor, top1, loss = best
    labels = list(_labels(pack, moved(texts, examples.embeddings, examples.labels, weight), examples, weight, factor))
    refined = replace(pack, labels=labels, negatives=with_factor(pack, factor).negatives)
    return Refined(pack=refined, weight=weight, factor=factor, before=before, after=(top1, loss))


def check_labels(pack: LabelPack, examples: Examples) -> None:
    """Refuse examples of fewer than two labels.

    Raises:
        DataError: with the label that has some.
    """
    present = np.unique(examples.labels)
    if len(present) < 2:
        raise DataError(
            f"all examples are of '{pack.names[int(present[0])]}': examples of two labels at least are needed, to tell them apart."
        )


def text_vectors(pack: LabelPack) -> np.ndarray:
    """(K, D) float64: the unit mean of each label's unit vectors."""
    rows = []
    for label in pack.labels:
        wide = np.asarray(label.vectors, np.float64)
        mean = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).mean(axis=0)
        length = np.linalg.norm(mean)
        rows.append(mean / length if length > 1e-9 else wide[0] / np.linalg.norm(wide[0]))
    return np.stack(rows)


def gap(texts: np.ndarray, embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(D,) what sets the images apart from the texts of their labels, each label counting alike."""
    away = [embeddings[labels == at].mean(axis=0) - texts[at] for at in np.unique(labels)]
    mean: np.ndarray = np.mean(away, axis=0) if away else np.zeros(texts.shape[1])
    return mean


def moved(texts: np.ndarray, embeddings: np.ndarray, labels: np.ndarray, weight: float) -> np.ndarray:
    """The vectors v_k, (K, D), by the formula above; a label without examples keeps its text."""
    vectors = texts.copy()
    if not np.isfinite(weight):
        return vectors
    apart = gap(texts, embeddings, labels)
    for at in np.unique(labels):
        own = embeddings[labels == at]
        total = weight * texts[at] + (own - apart).sum(axis=0)
        length = np.linalg.norm(total)
        if length > 1e-9:
            vectors[at] = total / length
    return vectors


def left_out_cosines(texts: np.ndarray, given: np.ndarray, examples: Examples, weight: float) -> np.ndarray:
    """(N, K + M) cosines of every example to labels' vectors that were made without it, and to the negatives.

    Args:
        texts: as of `text_vectors`.
        given: (N, K + M) cosines to the pack as it is, which negatives and labels without examples keep.
        examples: all of them.
        weight: examples that a text counts as.
    """
    cosines = given.copy()
    if not np.isfinite(weight):
        return cosines
    for row in range(len(examples.labels)):
        rest = np.arange(len(examples.labels)) != row
        embeddings, labels = examples.embeddings[rest], examples.labels[rest]
        present = np.unique(labels)
        cosines[row, present] = moved(texts, embeddings, labels, weight)[present] @ examples.embeddings[row]
    return cosines


def as_it_was(pack: LabelPack, examples: Examples) -> tuple[float, float, float]:
    """The factor on a pack's temperatures with the smallest log loss of examples, its vectors untouched; (factor, top-1, log loss)."""
    given = pack.all_cosines(examples.embeddings.astype(np.float32)).astype(np.float64)
    found = [(factor, *judged(pack, given, factor, examples.labels)) for factor in FACTORS]
    return min(found, key=lambda one: one[2])


def with_factor(pack: LabelPack, factor: float) -> LabelPack:
    """The pack with all temperatures times a factor."""
    labels = [replace(label, temperature=factor * label.temperature) for label in pack.labels]
    negatives = [replace(one, temperature=factor * one.temperature) for one in pack.negatives]
    return replace(pack, labels=labels, negatives=negatives)


def judged(pack: LabelPack, cosines: np.ndarray, factor: float, labels: np.ndarray) -> tuple[float, float]:
    """(top-1, log loss) of cosines (N, K + M), turned into probabilities as the pack does, temperatures times a factor."""
    probabilities = softmax(with_factor(pack, factor).logits(cosines))[:, : len(pack.labels)]
    right = probabilities[np.arange(len(labels)), labels]
    return float((probabilities.argmax(axis=1) == labels).mean()), float(-np.log(np.maximum(right, 1e-300)).mean())


def _labels(pack: LabelPack, vectors: np.ndarray, examples: Examples, weight: float, factor: float) -> Iterator[Label]:
    present = set(np.unique(examples.labels).tolist()) if np.isfinite(weight) else set()
    for at, label in enumerate(pack.labels):
        rows = vectors[at][None].astype(np.float32) if at in present else label.vectors
        yield replace(label, vectors=rows, temperature=factor * label.temperature)
