"""Refine a label pack by a logistic regression on a few labelled images, written as a label pack.

    p = softmax(W x + b), fitted on the examples x and, per label, its text t_k moved among the images:

        unit(t_k + g)      g as in edgefw.labels.prototypes

A row w_k of W becomes the label vector w_k / |w_k|, the temperature s / |w_k| (s: the pack's logit scale) and the bias
b_k; then the pack's own formula, softmax(s cos / temperature + bias), gives the same p, and the device needs nothing
new. scikit-learn fits; C, the inverse strength of its penalty, is that of the smallest log loss over up to five folds.

Source: texts as further training samples of a linear classifier on images, Lin et al. 2023, Multimodality Helps
Unimodality, arXiv:2301.06267, section 3. Differs: texts are moved by g, among the images. A label without an example is
refused: beside images of the others, one text hardly ever wins. Cosines to w_k are no likeness to a text: a trigger of
such a pack compares probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgefw.errors import DataError
from edgefw.evaluation.calibration import softmax
from edgefw.labels.examples import Examples
from edgefw.labels.prototypes import check_labels, gap, text_vectors
from edgefw.runtime.label_pack import LabelPack

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Candidates for C; of equals the first, which stays closer to nothing, is taken."""
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Head:
    """A refined pack and how it came about.

    Attributes:
        pack: trigger and thresholds as they were.
        strength: C of scikit-learn.
        before: (top-1, log loss) of the examples by the pack as it was.
        after: the same by heads that were fitted without them, fold by fold.
    """

    pack: LabelPack
    strength: float
    before: tuple[float, float]
    after: tuple[float, float]


def refine(pack: LabelPack, examples: Examples, seed: int = 0) -> Head:
    """The pack with the vectors, biases and temperatures of a logistic head.

    Args:
        pack: of two labels at least.
        examples: of every label.
        seed: of the folds.

    Raises:
        DataError: if a label has no example: its text alone, among many images, would never be said.
        ModuleNotFoundError: without scikit-learn.
    """
    check_labels(pack, examples)
    missing = [name for at, name in enumerate(pack.names) if at not in examples.labels]
    if missing:
        raise DataError(
            f"no example of '{missing[0]}': a logistic head needs one of every label. Add some, or take --by prototype."
        )
    texts, x, y = text_vectors(pack), examples.embeddings, examples.labels
    folds = np.random.default_rng(seed).permutation(len(y)) % min(FOLDS, len(y))
    best = (STRENGTHS[0], 0.0, np.inf)
    for strength in STRENGTHS:
        top1, loss = _judged(_left_out(texts, x, y, folds, strength), y)
        if loss < best[2] - 1e-12:
            best = (strength, top1, loss)
    weights, bias = fit(texts, x, y, best[0])
    before = _judged(pack.probabilities(x.astype(np.float32)), y)
    return Head(pack=as_pack(pack, weights, bias), strength=best[0], before=before, after=best[1:])


def fit(texts: np.ndarray, x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """W (K, D) and b (K,) of a head on examples and texts; with two labels the halves of scikit-learn's one row."""
    from sklearn.linear_model import LogisticRegression

    among = texts + gap(texts, x, y)
    rows = np.concatenate([x, among / np.linalg.norm(among, axis=1, keepdims=True)])
    model: Any = LogisticRegression(C=strength, max_iter=2000)
    model.fit(rows, np.concatenate([y, np.arange(len(texts))]))
    if len(texts) == 2:
        return np.stack([-model.coef_[0], model.coef_[0]]) / 2, np.array([-1, 1]) * model.intercept_[0] / 2
    return model.coef_, model.intercept_


def as_pack(pack: LabelPack, weights: np.ndarray, bias: np.ndarray) -> LabelPack:
    """The pack whose probabilities are softmax(W x + b) for x of length 1."""
    length = np.linalg.norm(weights, axis=1)
    labels = [
        replace(
            label,
            vectors=(weights[at] / length[at])[None].astype(np.float32),
            temperature=float(pack.logit_scale / length[at]),
            bias=float(bias[at]),
        )
        for at, label in enumerate(pack.labels)
    ]
    return replace(pack, labels=labels)


def _left_out(texts: np.ndarray, x: np.ndarray, y: np.ndarray, folds: np.ndarray, strength: float) -> np.ndarray:
    """(N, K) probabilities of every example by a head that was fitted on the other folds."""
    found = np.zeros((len(y), len(texts)))
    for fold in np.unique(folds):
        held = folds == fold
        weights, bias = fit(texts, x[~held], y[~held], strength)
        found[held] = softmax(x[held] @ weights.T + bias)
    return found


def _judged(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    right = probabilities[np.arange(len(labels)), labels]
    return float((probabilities.argmax(axis=1) == labels).mean()), float(-np.log(np.maximum(right, 1e-300)).mean())
