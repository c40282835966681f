"""How often the best-scoring class is the right one. Knows scores and class indices, not how either was made."""

from __future__ import annotations

import numpy as np


def predictions(scores: np.ndarray) -> np.ndarray:
    """The best class of each row, (N,) int64 of scores (N, K); -1 where a score is not a number.

    The first of several equal scores wins. A row that a broken model filled with NaN is thereby always wrong.
    """
    if scores.ndim != 2:
        raise ValueError(f"expected scores (N, K), got shape {scores.shape}")
    best = np.argmax(scores, axis=1).astype(np.int64)
    return np.where(np.isnan(scores).any(axis=1), np.int64(-1), best)


def top1(scores: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of labelled rows whose best score is their label's, 0..1.

    Args:
        scores: (N, K), higher is better; or predictions, (N,) int.
        labels: (N,) int; rows below 0 are left out.
    """
    predicted, truth = _labelled(scores, labels)
    return float(np.mean(predicted == truth)) if len(truth) else float("nan")


def per_class_accuracy(scores: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Recall of each class, (classes,) float64; NaN for a class without a row. Arguments as in `top1`."""
    predicted, truth = _labelled(scores, labels)
    _check_range(truth, classes)
    count = np.bincount(truth, minlength=classes)
    right = np.bincount(truth[predicted == truth], minlength=classes)
    recall: np.ndarray = np.divide(right, count, out=np.full(classes, np.nan), where=count > 0)
    return recall


def balanced_top1(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean recall over the classes that occur, 0..1: rare classes count as much as common ones."""
    truth = labels[labels >= 0]
    if not len(truth):
        return float("nan")
    return float(np.nanmean(per_class_accuracy(scores, labels, int(truth.max()) + 1)))


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Fraction of rows on which two models choose the same class; each (N, K) scores or (N,) predictions.

    Two rows that are both not a number do not agree.
    """
    one, other = _chosen(first), _chosen(second)
    if one.shape != other.shape:
        raise ValueError(f"{len(one)} rows and {len(other)} rows cannot be compared")
    return float(np.mean((one == other) & (one >= 0))) if len(one) else float("nan")


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Counts (classes, classes) int64: row = label, column = prediction.

    Rows without a label, or with a prediction of -1, are in no cell.
    """
    choice, truth = _labelled(predicted, labels)
    kept = choice >= 0
    _check_range(truth, classes)
    _check_range(choice[kept], classes)
    cells = truth[kept] * classes + choice[kept]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def _chosen(values: np.ndarray) -> np.ndarray:
    return predictions(values) if values.ndim == 2 else np.asarray(values, dtype=np.int64)


def _labelled(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    choice, truth = _chosen(scores), np.asarray(labels, dtype=np.int64)
    if choice.shape != truth.shape:
        raise ValueError(f"{len(choice)} rows of scores and {len(truth)} labels")
    return choice[truth >= 0], truth[truth >= 0]


def _check_range(indices: np.ndarray, classes: int) -> None:
    if len(indices) and int(indices.max()) >= classes:
        raise ValueError(f"class index {int(indices.max())} with only {classes} classes")
