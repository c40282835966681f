"""Accuracies against scikit-learn, and what holds for any scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from edgefw.evaluation import agreement, balanced_top1, confusion, per_class_accuracy, predictions, top1


def _drawn(seed: int, rows: int = 200, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    scores = generator.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    return scores.astype(np.float32), labels


@pytest.mark.parametrize("seed", range(5))
def test_top1_equals_scikit_learn(seed: int) -> None:
    scores, labels = _drawn(seed)
    assert top1(scores, labels) == pytest.approx(sklearn_metrics.accuracy_score(labels, scores.argmax(1)))


@pytest.mark.parametrize("seed", range(5))
def test_balanced_top1_equals_scikit_learn_with_absent_classes(seed: int) -> None:
    scores, labels = _drawn(seed)
    labels[labels == 6] = 2  # class 6 is predicted but never true
    assert balanced_top1(scores, labels) == pytest.approx(
        sklearn_metrics.recall_score(labels, scores.argmax(1), average="macro", labels=np.unique(labels))
    )


def test_accuracy_of_each_class_equals_scikit_learn() -> None:
    scores, labels = _drawn(3)
    expected = sklearn_metrics.recall_score(labels, scores.argmax(1), average=None, labels=list(range(7)))
    np.testing.assert_allclose(per_class_accuracy(scores, labels, 7), expected)


def test_a_class_without_rows_has_no_accuracy() -> None:
    assert np.isnan(per_class_accuracy(np.eye(3), np.array([0, 1, 1]), 3)[2])


@pytest.mark.parametrize("seed", range(5))
def test_confusion_equals_scikit_learn(seed: int) -> None:
    scores, labels = _drawn(seed)
    ours = confusion(predictions(scores), labels, 7)
    np.testing.assert_array_equal(
        ours, sklearn_metrics.confusion_matrix(labels, scores.argmax(1), labels=list(range(7)))
    )


def test_rows_without_a_label_are_left_out() -> None:
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert top1(scores, np.array([0, -1, 1])) == 0.5
    assert confusion(predictions(scores), np.array([0, -1, 1]), 2).sum() == 2


def test_no_labelled_row_gives_no_number() -> None:
    assert np.isnan(top1(np.zeros((2, 3)), np.array([-1, -1])))
    assert np.isnan(balanced_top1(np.zeros((2, 3)), np.array([-1, -1])))
    assert np.isnan(agreement(np.zeros(0, dtype=int), np.zeros(0, dtype=int)))


def test_a_score_that_is_not_a_number_is_wrong_and_agrees_with_nothing() -> None:
    broken = np.array([[np.nan, 1.0], [0.0, 1.0]])
    assert predictions(broken).tolist() == [-1, 1]
    assert top1(broken, np.array([1, 1])) == 0.5
    assert agreement(broken, broken) == 0.5
    assert confusion(predictions(broken), np.array([1, 1]), 2).sum() == 1


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rows of scores and 2 labels"):
        top1(np.zeros((3, 2)), np.zeros(2, dtype=int))
    with pytest.raises(ValueError, match="class index 5 with only 2 classes"):
        confusion(np.array([0]), np.array([5]), 2)
    with pytest.raises(ValueError, match="cannot be compared"):
        agreement(np.array([0]), np.array([0, 1]))


LABELS = st.lists(st.integers(-1, 4), min_size=1, max_size=40)


@given(LABELS, st.integers(0, 2**31))
def test_top1_is_the_weighted_mean_of_class_accuracies(labels: list[int], seed: int) -> None:
    truth = np.array(labels)
    scores = np.random.default_rng(seed).normal(size=(len(truth), 5))
    counts = np.bincount(truth[truth >= 0], minlength=5)
    if not counts.sum():
        return
    per_class = np.nan_to_num(per_class_accuracy(scores, truth, 5))
    assert top1(scores, truth) == pytest.approx(float((per_class * counts).sum() / counts.sum()))
    assert np.trace(confusion(predictions(scores), truth, 5)) == round(top1(scores, truth) * counts.sum())


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_agreement_is_symmetric_and_one_with_itself(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T
    assert agreement(first, second) == agreement(second, first) == pytest.approx(np.mean(first == second))
    assert agreement(first, first) == 1.0


@given(st.integers(0, 2**31), st.floats(0.1, 10), st.floats(-5, 5))
def test_a_rising_map_of_all_scores_changes_no_accuracy(seed: int, factor: float, shift: float) -> None:
    scores, labels = _drawn(seed, rows=30)
    assert top1(scores.astype(np.float64) * factor + shift, labels) == top1(scores, labels)
