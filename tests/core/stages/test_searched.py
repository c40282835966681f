"""Retrieval and neighbours of held-out embeddings: against scikit-learn, plain counts, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from edgefw.evaluation import zero_shot_scores
from edgefw.stages import searched
from edgefw.stages.answers import Answers, Questions
from edgefw.stages.searched import search_metrics
from edgefw.stages.verify_numbers import evaluation_rows

CLASSES, WIDTH = 7, 5


def drawn(count: int = 80, unlabelled: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (count, WIDTH) about the texts of their labels, labels, and texts (CLASSES, WIDTH)."""
    random = np.random.default_rng(seed)
    text = random.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    labels = random.integers(0, CLASSES, count)
    embeddings = (text[labels] + random.normal(size=(count, WIDTH))).astype(np.float32)
    return embeddings, np.where(random.random(count) < unlabelled, -1, labels), text


def answers(embeddings: np.ndarray, labels: np.ndarray, text: np.ndarray | None) -> Answers:
    """Entered in batches, as the pass over the samples does."""
    found = Answers(questions=Questions(labels=labels, text=text))
    for start in range(0, len(labels), 16):
        rows = np.arange(start, min(start + 16, len(labels)))
        found.add(rows, embeddings[rows])
    return found


def test_image_to_text_equals_scikit_learns_top_k_accuracy() -> None:
    embeddings, labels, text = drawn()
    found, known = search_metrics(answers(embeddings, labels, text)), labels >= 0
    scores = zero_shot_scores(embeddings, text)[known]
    for k in (1, 5):
        expected = top_k_accuracy_score(labels[known], scores, k=k, labels=range(CLASSES))
        assert found[f"image_to_text_r{k}"] == (pytest.approx(expected), known.sum())


def test_text_to_image_equals_a_plain_count() -> None:
    embeddings, labels, text = drawn(count=60, seed=1)
    labels[labels == 3] = -1  # a text without an image asks nothing
    found, known = search_metrics(answers(embeddings, labels, text)), labels >= 0
    scores = zero_shot_scores(embeddings, text)[known]
    asked = sorted(set(labels[known].tolist()))
    for k in (1, 5):
        hits = [bool((labels[known][np.argsort(-scores[:, one])[:k]] == one).any()) for one in asked]
        assert found[f"text_to_image_r{k}"] == (pytest.approx(np.mean(hits)), CLASSES - 1)


def test_neighbours_equal_scikit_learns_leave_one_out() -> None:
    embeddings, labels, text = drawn(seed=2)
    kept, truth = embeddings[labels >= 0], labels[labels >= 0]
    model = KNeighborsClassifier(20, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine", algorithm="brute")
    right = cross_val_predict(model, kept, truth, cv=LeaveOneOut()) == truth
    assert search_metrics(answers(embeddings, labels, text))["knn_top1"] == (pytest.approx(right.mean()), len(truth))


def test_where_k_rows_are_all_there_is_nothing_to_find() -> None:
    embeddings, labels, text = drawn()
    few = answers(embeddings, np.where(labels < 3, labels, -1), text[:3])
    assert search_metrics(few).keys() == {"text_to_image_r1", "text_to_image_r5", "image_to_text_r1", "knn_top1"}


def test_without_text_neighbours_are_left_and_without_labels_nothing() -> None:
    embeddings, labels, text = drawn()
    assert search_metrics(answers(embeddings, labels, None)).keys() == {"knn_top1"}
    assert search_metrics(answers(embeddings, np.full(len(labels), -1), text)) == {}


def test_samples_that_were_not_asked_about_are_left_out_and_broken_embeddings_give_no_number() -> None:
    embeddings, labels, text = drawn(unlabelled=0.0)
    half = Answers(questions=Questions(labels=labels, text=text))
    half.add(np.arange(40), embeddings[:40])
    assert search_metrics(half) == search_metrics(answers(embeddings[:40], labels[:40], text))
    embeddings[7] = np.nan
    assert search_metrics(answers(embeddings, labels, text)) == {}


def test_no_more_embeddings_are_kept_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searched, "MOST_SAMPLES", 30)
    embeddings, labels, text = drawn()
    own = answers(embeddings, labels, text)
    rows = own.questions.searched
    assert len(rows) == 30 and (labels[rows] >= 0).all() and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(own.kept.at(rows), embeddings[rows])
    assert search_metrics(own)["image_to_text_r1"][1] == 30


def test_verify_writes_a_row_for_each() -> None:
    embeddings, labels, text = drawn()
    rows = evaluation_rows({("student", "rgb"): answers(embeddings, labels, text)}, labels, ("teacher", "rgb"), 20.0)
    found = {row["metric"]: row["value"] for row in rows}
    assert found["image_to_text_r1"] == pytest.approx(found["top1"])
    assert {"text_to_image_r1", "text_to_image_r5", "image_to_text_r5", "knn_top1", "ece"} <= found.keys()
