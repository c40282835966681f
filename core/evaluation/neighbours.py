"""Accuracy of a weighted vote of nearest neighbours: are embeddings of one class close together? Needs no text."""

from __future__ import annotations

import numpy as np

from edgefw.evaluation.similarity import unit_rows

_ROWS = 1024


def knn_top1(
    bank: np.ndarray,
    bank_labels: np.ndarray,
    queries: np.ndarray,
    labels: np.ndarray,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Fraction of queries that the vote of their k nearest bank rows labels rightly, 0..1.

    Args:
        bank: (M, D) embeddings with known labels; normalised here.
        bank_labels: (M,) int; rows below 0 are left out.
        queries: (N, D).
        labels: (N,) int; rows below 0 are left out.
        k: neighbours that vote; more than the bank holds means all.
        temperature: a vote weighs exp(cosine / temperature); > 0, dimensionless.

    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4, as used for self-supervised encoders since.
    """
    if k < 1 or temperature <= 0:
        raise ValueError(f"k must be at least 1 and temperature above 0, got {k} and {temperature}")
    known, asked = np.asarray(bank_labels) >= 0, np.asarray(labels) >= 0
    if not known.any() or not asked.any():
        return float("nan")
    index, votes = unit_rows(bank[known]).T, np.asarray(bank_labels)[known]
    rows, truth = unit_rows(queries[asked]), np.asarray(labels)[asked]
    right = [
        _vote(rows[at : at + _ROWS] @ index, votes, min(k, len(votes)), temperature) == truth[at : at + _ROWS]
        for at in range(0, len(rows), _ROWS)
    ]
    return float(np.concatenate(right).mean())


def leave_one_out_top1(rows: np.ndarray, labels: np.ndarray, k: int = 20, temperature: float = 0.07) -> float:
    """Fraction of rows that the vote of their k nearest other rows labels rightly, 0..1.

    Args:
        rows: (N, D) embeddings; normalised here.
        labels: (N,) int; rows below 0 are left out, and no row is asked about whose label no other row has.
        k, temperature: as in `knn_top1`.

    Memory is O(1024 N), time O(N^2 D).
    """
    if k < 1 or temperature <= 0:
        raise ValueError(f"k must be at least 1 and temperature above 0, got {k} and {temperature}")
    known = np.asarray(labels) >= 0
    units, truth = unit_rows(rows[known]), np.asarray(labels)[known]
    asked = np.bincount(truth)[truth] > 1 if len(truth) else np.zeros(0, bool)
    if not asked.any():
        return float("nan")
    right = np.zeros(len(truth), bool)
    for at in range(0, len(truth), _ROWS):
        cosines = units[at : at + _ROWS] @ units.T
        own = np.arange(len(cosines))
        cosines[own, at + own] = -np.inf
        right[at : at + _ROWS] = _vote(cosines, truth, min(k, len(truth) - 1), temperature) == truth[at : at + _ROWS]
    return float(right[asked].mean())


def _vote(cosines: np.ndarray, labels: np.ndarray, k: int, temperature: float) -> np.ndarray:
    nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
    near = np.take_along_axis(cosines, nearest, axis=1)
    weight = np.exp((near - near.max(axis=1, keepdims=True)) / temperature)  # a common factor changes no winner
    ballot = np.zeros((len(cosines), int(labels.max()) + 1))
    np.add.at(ballot, (np.arange(len(cosines))[:, None], labels[nearest]), weight)
    winners: np.ndarray = ballot.argmax(axis=1)
    return winners
