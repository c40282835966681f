"""Refine a label pack by a logistic regression on a few labelled images, written as a label pack.

    p = softmax((1 - a) (s T x / f + b0) + a (W x + b))     T: the texts t_k; s, b0: the pack's scale and biases

W and b are fitted on the examples x and, per label, its text moved among the images, unit(t_k + g) with g as in
edgefw.labels.prototypes. Both heads are linear, so their mean by weights is one: a row r_k becomes the label vector
r_k / |r_k|, the temperature s / |r_k| and the bias; the pack's own formula, softmax(s cos / temperature + bias), gives the
same p, and the device needs nothing new. scikit-learn fits. C, the inverse strength of its penalty, the share a and the
factor f on the pack's temperatures are those of the smallest log loss over up to five folds; at a = 0 the vectors stay as they were, for
a few images often know less than the text.

Sources: texts as further training samples of a linear classifier on images, Lin et al. 2023, Multimodality Helps
Unimodality, arXiv:2301.06267, section 3; the mean of a zero-shot head and a fitted one, Wortsman et al. 2022 (WiSE-FT),
arXiv:2109.01903, section 3, whose a is 0.5. Differs: texts are moved by g, among the images; only the head is fitted. A label
without an example is refused: beside images of the others, one text hardly ever wins; so are negatives, which are texts alone. Cosines to r_k are no likeness to a
text: a trigger of such a pack compares probabilities.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgefw.errors import DataError
from edgefw.evaluation.calibration import softmax
from edgefw.labels.examples import Examples
from edgefw.labels.prototypes import FACTORS, as_it_was, check_labels, gap, text_vectors, with_factor
from edgefw.runtime.label_pack import LabelPack

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Candidates for C; of equals the first, which stays closer to nothing, is taken."""
SHARES = (0.25, 0.5, 0.75, 1.0)
"""Candidates for a, beside 0."""
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Head:
    """A refined pack and how it came about.

    Attributes:
        pack: trigger and thresholds as they were.
        strength: C of scikit-learn; None: the examples do not help, the vectors stay.
        share: of the fitted head, a; 0 where they stay.
        factor: on the pack's temperatures, f.
        before: (top-1, log loss) of the examples by the pack as it was.
        after: the same by heads that were fitted without them, fold by fold.
    """

    pack: LabelPack
    strength: float | None
    share: float
    factor: float
    before: tuple[float, float]
    after: tuple[float, float]


def refine(pack: LabelPack, examples: Examples, seed: int = 0) -> Head:
    """The pack with the vectors, biases and temperatures of a logistic head.

    Args:
        pack: of two labels at least.
        examples: of every label.
        seed: of the folds.

    Raises:
        DataError: if a label has no example: its text alone, among many images, would never be said; or if the pack
            has negatives, whose logits do not compare with those of a fitted head.
        ModuleNotFoundError: without scikit-learn.
    """
    if pack.negatives:
        raise DataError(
            f"the pack has negatives ('{pack.negatives[0].name}'), and a logistic head knows no texts beside images: take "
            "--by prototype, or build the pack without negatives."
        )
    check_labels(pack, examples)
    missing = [name for at, name in enumerate(pack.names) if at not in examples.labels]
    if missing:
        raise DataError(
            f"no example of '{missing[0]}': a logistic head needs one of every label. Add some, or take --by prototype."
        )
    folds = np.random.default_rng(seed).permutation(len(examples.labels)) % min(FOLDS, len(examples.labels))
    choice = _best(pack, examples, folds)
    before = _judged(pack.probabilities(examples.embeddings.astype(np.float32)), examples.labels)
    if choice.share == 0.0:
        kept = with_factor(pack, choice.factor)
        return Head(pack=kept, strength=None, share=0.0, factor=choice.factor, before=before, after=choice.after)
    texts, share = text_vectors(pack), choice.share
    weights, bias = fit(texts, examples.embeddings, examples.labels, choice.strength)
    given, offset = zero_shot(pack, texts, choice.factor)
    mixed = as_pack(pack, (1 - share) * given + share * weights, (1 - share) * offset + share * bias)
    chosen = {"strength": choice.strength, "share": share, "factor": choice.factor}
    return Head(pack=mixed, **chosen, before=before, after=choice.after)


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """What the folds chose; `after`: (top-1, log loss)."""

    strength: float
    share: float
    factor: float
    after: tuple[float, float]


def _best(pack: LabelPack, examples: Examples, folds: np.ndarray) -> _Choice:
    """The smallest log loss; of equals what stays closer to the pack as it was."""
    x, y, texts = examples.embeddings, examples.labels, text_vectors(pack)
    factor, *kept = as_it_was(pack, examples)
    best = _Choice(strength=STRENGTHS[0], share=0.0, factor=factor, after=(kept[0], kept[1]))
    for strength in STRENGTHS:
        fitted = _left_out(texts, x, y, folds, strength)
        for share, factor in itertools.product(SHARES, FACTORS):
            weights, bias = zero_shot(pack, texts, factor)
            logits = (1 - share) * (x @ weights.T + bias) + share * fitted
            after = _judged(softmax(logits), y)
            if after[1] < best.after[1] - 1e-12:
                best = _Choice(strength=strength, share=share, factor=factor, after=after)
    return best


def zero_shot(pack: LabelPack, texts: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """W (K, D) and b (K,) of the pack's own formula, temperatures times a factor."""
    temperature = factor * np.array([label.temperature for label in pack.labels])
    return pack.logit_scale * texts / temperature[:, None], np.array([label.bias for label in pack.labels])


def fit(texts: np.ndarray, x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """W (K, D) and b (K,) of a head on examples and texts; with two labels the halves of scikit-learn's one row."""
    from sklearn.linear_model import LogisticRegression

    among = texts + gap(texts, x, y)
    rows = np.concatenate([x, among / np.linalg.norm(among, axis=1, keepdims=True)])
    model: Any = LogisticRegression(C=strength, max_iter=2000)
    with warnings.catch_warnings():  # few examples of many classes are what this is for
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
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
    """(N, K) logits of every example by a head that was fitted on the other folds."""
    found = np.zeros((len(y), len(texts)))
    for fold in np.unique(folds):
        held = folds == fold
        weights, bias = fit(texts, x[~held], y[~held], strength)
        found[held] = x[held] @ weights.T + bias
    return found


def _judged(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    right = probabilities[np.arange(len(labels)), labels]
    return float((probabilities.argmax(axis=1) == labels).mean()), float(-np.log(np.maximum(right, 1e-300)).mean())
