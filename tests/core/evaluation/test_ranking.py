"""AUC, retrieval and nearest neighbours against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from edgefw.evaluation import (
    auc_of_present,
    auc_one_vs_rest,
    auc_per_class,
    knn_top1,
    leave_one_out_top1,
    retrieval_recall,
    softmax,
)
from edgefw.evaluation.ranking import average_ranks
from edgefw.evaluation.similarity import unit_rows, zero_shot_scores


@pytest.mark.parametrize("ties", [False, True])
def test_auc_equals_scikit_learn(ties: bool) -> None:
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 5, 300)
    scores = generator.normal(size=(300, 5)) + np.eye(5)[labels]
    scores = np.round(scores) if ties else scores
    ours = auc_per_class(scores, labels)
    np.testing.assert_allclose(ours, [roc_auc_score(labels == k, scores[:, k]) for k in range(5)], atol=1e-12)
    probabilities = softmax(scores)
    expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert auc_one_vs_rest(probabilities, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_of_images_with_several_classes_equals_scikit_learn(ties: bool) -> None:
    generator = np.random.default_rng(6)
    present = generator.random((200, 7)) < [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98]
    scores = generator.normal(size=(200, 7)) + 0.8 * present
    scores = np.round(scores) if ties else scores
    np.testing.assert_allclose(
        auc_of_present(scores, present), roc_auc_score(present, scores, average=None), atol=1e-12
    )
    present[:, 0], present[:, 1] = True, False
    assert list(np.isnan(auc_of_present(scores, present))) == [True, True, *[False] * 5]


def test_auc_leaves_out_classes_and_rows_without_labels() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5], [0.1, 0.7, 0.5]])
    values = auc_per_class(scores, np.array([0, 1, -1]))
    assert values[0] == values[1] == 1.0
    assert np.isnan(values[2])
    assert auc_one_vs_rest(scores, np.array([0, 1, -1])) == 1.0
    assert np.isnan(auc_one_vs_rest(scores, np.array([0, 0, 0])))


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30))
def test_average_ranks_equal_scipy(values: list[int]) -> None:
    np.testing.assert_array_equal(average_ranks(np.array(values)), rankdata(values))


@given(st.integers(0, 2**31))
def test_auc_of_turned_scores_is_the_complement(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels, scores = generator.integers(0, 2, 20), generator.integers(0, 4, (20, 2)).astype(float)
    values, turned = auc_per_class(scores, labels), auc_per_class(-scores, labels)
    np.testing.assert_allclose(values + turned, np.where(np.isnan(values), np.nan, 1.0))


@pytest.mark.parametrize("k", [1, 3, 10, 60])
def test_retrieval_equals_a_plain_count(k: int) -> None:
    generator = np.random.default_rng(k)
    queries, gallery = generator.normal(size=(40, 8)), generator.normal(size=(50, 8))
    relevant = generator.random((40, 50)) < 0.04
    cosines = zero_shot_scores(queries, gallery)
    asked = [i for i in range(40) if relevant[i].any()]
    found = [set(sorted(range(50), key=lambda j: -cosines[i, j])[:k]) & set(np.flatnonzero(relevant[i])) for i in asked]
    assert retrieval_recall(queries, gallery, relevant, k) == pytest.approx(np.mean([bool(hit) for hit in found]))


def test_retrieval_by_index_equals_retrieval_by_matrix_across_chunks() -> None:
    generator = np.random.default_rng(0)
    gallery = generator.normal(size=(30, 4))
    index = generator.integers(-1, 30, 2500)
    queries = gallery[index] + generator.normal(scale=0.7, size=(2500, 4))
    matrix = np.zeros((2500, 30), dtype=bool)
    matrix[np.arange(2500)[index >= 0], index[index >= 0]] = True
    assert retrieval_recall(queries, gallery, index, 2) == retrieval_recall(queries, gallery, matrix, 2)


def test_every_row_finds_itself() -> None:
    rows = np.random.default_rng(1).normal(size=(20, 6))
    assert retrieval_recall(rows, rows * 3.0, np.arange(20)) == 1.0
    assert np.isnan(retrieval_recall(rows, rows, np.full(20, -1)))


def test_retrieval_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        retrieval_recall(np.eye(2), np.eye(2), np.arange(2), 0)
    with pytest.raises(ValueError, match="2 queries and 3 rows"):
        retrieval_recall(np.eye(2), np.eye(2), np.arange(3))


@pytest.mark.parametrize("k", [1, 5, 20])
def test_neighbours_equal_scikit_learn(k: int) -> None:
    generator = np.random.default_rng(k)
    centres = generator.normal(size=(4, 6))
    bank_labels, labels = generator.integers(0, 4, 150), generator.integers(0, 4, 80)
    bank = centres[bank_labels] + generator.normal(size=(150, 6))
    queries = centres[labels] + generator.normal(size=(80, 6))
    model = KNeighborsClassifier(k, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine", algorithm="brute")
    expected = model.fit(bank, bank_labels).score(queries, labels)
    assert knn_top1(bank, bank_labels, queries, labels, k) == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 5, 200])
def test_leaving_one_out_equals_scikit_learn(k: int) -> None:
    generator = np.random.default_rng(k)
    labels = generator.integers(-1, 4, 60)
    rows = generator.normal(size=(4, 6))[labels] + generator.normal(size=(60, 6))
    kept, truth = rows[labels >= 0], labels[labels >= 0]
    own = min(k, len(truth) - 1)
    model = KNeighborsClassifier(own, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine", algorithm="brute")
    right = cross_val_predict(model, kept, truth, cv=LeaveOneOut()) == truth
    assert leave_one_out_top1(rows, labels, k) == pytest.approx(right.mean())


def test_leaving_one_out_across_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 4, 50)
    rows = generator.normal(size=(4, 6))[labels] + generator.normal(size=(50, 6))
    whole = leave_one_out_top1(rows, labels, 5)
    monkeypatch.setattr("edgefw.evaluation.neighbours._ROWS", 7)
    assert leave_one_out_top1(rows, labels, 5) == whole


def test_a_row_without_a_fellow_is_a_neighbour_and_not_asked() -> None:
    rows = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    assert leave_one_out_top1(rows, np.array([0, 0, 1]), 1) == 1.0
    assert np.isnan(leave_one_out_top1(rows, np.array([0, 1, 2])))
    with pytest.raises(ValueError, match="k must be at least 1"):
        leave_one_out_top1(rows, np.array([0, 0, 1]), 0)


def test_neighbours_without_labels_give_no_number() -> None:
    assert np.isnan(knn_top1(np.eye(3), np.full(3, -1), np.eye(3), np.arange(3)))
    assert knn_top1(np.eye(3), np.arange(3), np.eye(3), np.array([0, 1, -1]), k=99) == 1.0
    with pytest.raises(ValueError, match="temperature above 0"):
        knn_top1(np.eye(3), np.arange(3), np.eye(3), np.arange(3), temperature=0)


@given(st.integers(0, 2**31), st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
def test_cosines_do_not_depend_on_length_and_stay_in_range(seed: int, factor: float) -> None:
    generator = np.random.default_rng(seed)
    images, text = generator.normal(size=(5, 3)), generator.normal(size=(4, 3))
    cosines = zero_shot_scores(images * factor, text)
    expected = (images @ text.T) / np.outer(np.linalg.norm(images, axis=1), np.linalg.norm(text, axis=1))
    np.testing.assert_allclose(cosines, expected, atol=1e-12)
    assert np.abs(cosines).max() <= 1.0


def test_a_zero_row_has_no_direction() -> None:
    assert unit_rows(np.zeros((1, 3))).tolist() == [[0.0, 0.0, 0.0]]
    assert unit_rows(np.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(ValueError, match="expected rows"):
        unit_rows(np.zeros(3))
    with pytest.raises(ValueError, match="wide"):
        zero_shot_scores(np.zeros((1, 3)), np.zeros((1, 4)))
