"""Thresholds for a wanted precision or recall, against scikit-learn's curve, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from edgefw.labels.thresholds import choose, with_thresholds
from edgefw.runtime.label_pack import Label, LabelPack
from edgefw.runtime.pack_scores import Scores


def pack(count: int, threshold: float = 0.3) -> LabelPack:
    labels = [
        Label(name=f"c{at}", vectors=np.eye(count, dtype=np.float32)[at][None], threshold=threshold)
        for at in range(count)
    ]
    return LabelPack(labels=labels, logit_scale=10.0, encoder="e" * 64)


def scored(probabilities: np.ndarray, *beaten: tuple[int, int]) -> Scores:
    """Scores in which negatives beat the labels of some (row, column)."""
    marks = np.zeros(probabilities.shape, bool)
    for place in beaten:
        marks[place] = True
    return Scores(cosines=probabilities, probabilities=probabilities, beaten=marks)


def drawn(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities on a coarse grid, so that many are equal; labels of which a tenth are none of them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 4, n)
    scores = rng.normal(size=(n, 4)) + 1.2 * (labels[:, None] == np.arange(4))
    powers = np.exp(np.round(scores, 1))
    return np.round(powers / powers.sum(1, keepdims=True), 3), labels


@pytest.mark.parametrize("aim", ["precision", "recall"])
@pytest.mark.parametrize("wanted", [0.3, 0.6, 0.8])
def test_it_is_the_best_point_of_scikit_learns_curve(aim, wanted):
    probabilities, labels = drawn()
    best = probabilities.argmax(1)
    for at, one in enumerate(choose(pack(4), scored(probabilities), labels, aim, wanted)):
        scores = np.where(best == at, probabilities[:, at], -1.0)
        precision, recall, edges = precision_recall_curve(labels == at, scores)
        said = np.flatnonzero(edges >= 0)
        reached = (precision if aim == "precision" else recall)[said] >= wanted
        assert one.met == reached.any()
        if one.met:
            fits = said[reached]
            place = fits.min() if aim == "precision" else fits.max()  # the curve goes from low thresholds to high ones
            assert one.precision == pytest.approx(precision[place])
            assert one.recall == pytest.approx(recall[place])
            np.testing.assert_array_equal(scores >= max(one.value, 0.0), scores >= edges[place])


def test_what_is_said_with_the_thresholds_is_what_was_promised():
    probabilities, labels = drawn(1)
    for one, at in zip(choose(pack(4), scored(probabilities), labels, "precision", 0.7), range(4)):
        said = (probabilities.argmax(1) == at) & (probabilities[:, at] >= one.value)
        assert one.precision == pytest.approx((labels[said] == at).mean())
        assert one.recall == pytest.approx((labels[said] == at).sum() / (labels == at).sum())


def test_three_labels_by_hand():
    probabilities = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.6, 0.4, 0], [0.3, 0.7, 0], [0.4, 0.6, 0]])
    labels = np.array([0, 1, 0, 0, -1])
    found = choose(pack(3), scored(probabilities), labels, "precision", 1.0)
    assert [round(one.value, 9) for one in found] == [0.85, 1.0, 0.3]
    assert [one.met for one in found] == [True, False, False]
    assert [(one.n, one.precision, one.recall) for one in found] == [(3, 1.0, 1 / 3), (1, None, 0.0), (0, None, None)]
    found = choose(pack(3), scored(probabilities), labels, "recall", 0.5)
    assert (found[0].value, found[0].recall, found[0].precision) == (0.0, 2 / 3, 2 / 3)
    assert (found[1].value, found[1].met) == (0.0, False)
    assert [label.threshold for label in with_thresholds(pack(3), found).labels] == [0.0, 0.0, 0.3]


def test_an_image_that_a_negative_takes_is_not_said_and_still_missed():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    labels = np.array([-1, 0, 0, 0])
    taken = choose(pack(2), scored(probabilities, (0, 0), (3, 0)), labels, "precision", 1.0)[0]
    assert (taken.value, taken.precision, taken.recall, taken.met) == (0.0, 1.0, 2 / 3, True)
    assert not choose(pack(2), scored(probabilities, (0, 0), (3, 0)), labels, "recall", 0.9)[0].met
