"""Finds the positive and the negatives of every anchor in a table of embeddings, block by block.

All distances of a block of anchors are one matrix product, so no loop runs over pairs, and the memory is that of a few
matrices of `CELLS` numbers however many samples there are. Distances are Euclidean, in float64, rounded to `DECIMALS`:
equal samples have equal distances however the product was cut, and of equal distances the lower position wins. The result
does not depend on the size of the blocks. It knows arrays; what a sampler or a batch is stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

CELLS = 2**21
"""Numbers in the distance matrix of a block: 16 MB."""

DECIMALS = 6

_COLUMNS = 4096

Positive = Literal["easy", "hard", "random"]
Empty = Literal["skip", "closest", "random"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What makes a triplet.

    Attributes:
        margin: width m of the band d_p < d_n < d_p + m.
        negatives: at most so many per anchor, J.
        positive: the nearest ("easy"), the furthest ("hard") or any sample of the anchor's label.
        empty: what an anchor with nothing in its band gets: nothing, the J nearest of other labels, or any J of them.
    """

    margin: float
    negatives: int
    positive: Positive = "easy"
    empty: Empty = "skip"


@dataclass(frozen=True, kw_only=True)
class Triplets:
    """What was found for M anchors, as positions among the M.

    Attributes:
        positive: (M,) int64, -1 where no other sample has the label.
        negatives: (M, J) int64, -1 after the last one.
        filled: (M,) bool, whether the negatives come from outside the band.
    """

    positive: np.ndarray
    negatives: np.ndarray
    filled: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """(M,) bool: anchors with a positive and at least one negative."""
        found: np.ndarray = (self.positive >= 0) & (self.negatives[:, 0] >= 0)
        return found


def mine(embedding: np.ndarray, label: np.ndarray, rules: Rules, seed: Sequence[int], cells: int = CELLS) -> Triplets:
    """Triplets of all M rows of `embedding` (M, D), any float type, with labels (M,).

    Args:
        seed: decides the order of negatives and random positives; see `priorities`.
        cells: size of a block; changes nothing but memory and speed.
    """
    size = len(label)
    rows = max(1, cells // max(1, size))
    for_negatives, for_positives = priorities(seed)
    parts = []
    for first in range(0, size, rows):
        anchors = np.arange(first, min(first + rows, size))
        order = for_negatives.random((len(anchors), size))
        chance = for_positives.random((len(anchors), size)) if rules.positive == "random" else order
        parts.append(_block(_distances(embedding, anchors), label, anchors, rules, order, chance))
    positive, negatives, filled = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Triplets(positive=positive, negatives=negatives, filled=filled)


def priorities(seed: Sequence[int]) -> tuple[np.random.Generator, np.random.Generator]:
    """Generators for negatives and for random positives.

    Anchor after anchor, each gives one number per sample; candidates are taken in the order of their numbers, which is a
    random order.
    """
    return np.random.default_rng([*seed, 1]), np.random.default_rng([*seed, 2])


def _distances(embedding: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """(A, M) float64, rounded; the table is read a few thousand rows at a time."""
    ours = embedding[anchors].astype(np.float64)
    squares = (ours**2).sum(axis=1)[:, None]
    found = np.empty((len(anchors), len(embedding)))
    for first in range(0, len(embedding), _COLUMNS):
        theirs = embedding[first : first + _COLUMNS].astype(np.float64)
        part = squares + (theirs**2).sum(axis=1) - 2 * (ours @ theirs.T)
        found[:, first : first + _COLUMNS] = np.sqrt(np.maximum(part, 0.0))
    return np.round(found, DECIMALS, out=found)


def _block(
    distance: np.ndarray,
    label: np.ndarray,
    anchors: np.ndarray,
    rules: Rules,
    order: np.ndarray,
    chance: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positive (A,), negatives (A, J) and filled (A,) of some anchors; all matrices are (A, M)."""
    same = label[anchors][:, None] == label
    different = ~same
    same[np.arange(len(anchors)), anchors] = False
    positive = _positive(distance, same, rules.positive, chance)
    reach = distance[np.arange(len(anchors)), positive][:, None]
    band = different & (distance > reach) & (distance < reach + rules.margin)
    negatives = _first(order, band, rules.negatives)
    mated, filled = same.any(axis=1), np.zeros(len(anchors), dtype=bool)
    if rules.empty != "skip":
        filled = mated & (negatives[:, 0] < 0) & different.any(axis=1)
        rank = distance if rules.empty == "closest" else order
        negatives[filled] = _first(rank[filled], different[filled], rules.negatives)
    negatives[~mated] = -1
    return np.where(mated, positive, -1), negatives, filled


def _positive(distance: np.ndarray, same: np.ndarray, rule: Positive, chance: np.ndarray) -> np.ndarray:
    if rule == "hard":
        farthest: np.ndarray = np.where(same, distance, -np.inf).argmax(axis=1)
        return farthest
    nearest: np.ndarray = np.where(same, distance if rule == "easy" else chance, np.inf).argmin(axis=1)
    return nearest


def _first(rank: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    """(A, count) int64: the positions of the lowest ranks among the candidates, in order; -1 where there are no more."""
    ranked = np.where(among, rank, np.inf)
    found = np.full((len(ranked), count), -1, dtype=np.int64)
    every = np.arange(len(ranked))
    for place in range(count):
        lowest = ranked.argmin(axis=1)
        found[:, place] = np.where(np.isfinite(ranked[every, lowest]), lowest, -1)
        ranked[every, lowest] = np.inf
    return found
