"""Images of two splits that are nearly the same picture: 64-bit difference hashes and their Hamming distance.

An image is averaged to 9 x 8 grey values g; bit (y, x) is 1 where g[y, x + 1] > g[y, x]. Copies that were resized,
compressed or brightened keep almost all bits; neighbouring video frames keep most. Pictures without structure (nearly
the same grey everywhere) have no hash and are not compared. Memory: 8 bytes per image, and one block of distances.

Source: the difference hash ("dHash") of N. Krawetz, hackerfactor.com, 2013, after D. H. of the same place; there with
nearest or unstated resampling, here with a box filter. A crop, a rotation or a mirror image is not found, and a match is a
hint to look, not a proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

PAIRS = (("val", "train", "val"), ("test", "train", "test"), ("test", "val", "test_like_val"))
"""A split, the one that it is compared with, and under which key the counts stand."""
_BLOCK = 2**22
"""Distances in memory at a time."""
_FLAT = 2.0
"""Standard deviation of grey values (of 255) below which a picture has no structure."""
_BITS = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Near duplicates of M images among N others.

    Attributes:
        pairs: how many pairs there are.
        images: how many of the M images have one.
        closest: (index among M, index among N, distance), the closest first, each of the M once; at most `most`.
    """

    pairs: int
    images: int
    closest: Sequence[tuple[int, int, int]] = field(default_factory=tuple)


def difference_hash(picture: np.ndarray) -> int | None:
    """The 64 bits of a picture (H, W, 3) uint8; None if it has no structure."""
    grey = np.asarray(Image.fromarray(picture).convert("L").resize((9, 8), Image.Resampling.BOX), np.float64)
    if grey.std() < _FLAT:
        return None
    bits = np.packbits(grey[:, 1:] > grey[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hamming distances (M, N) uint8 of hashes (M,) and (N,) uint64."""
    differing = np.ascontiguousarray(first[:, None] ^ second[None, :])  # (M, N)
    if hasattr(np, "bitwise_count"):  # numpy 2
        counted: np.ndarray = np.bitwise_count(differing)
        return counted
    bits: np.ndarray = _BITS[differing.view(np.uint8).reshape(*differing.shape, 8)].sum(axis=2, dtype=np.uint8)
    return bits


def find_matches(first: np.ndarray, second: np.ndarray, most_distance: int, most: int = 20) -> Matches:
    """Pairs of the M and N hashes (uint64) that differ in at most `most_distance` bits."""
    pairs, images = 0, 0
    closest: list[tuple[int, int, int]] = []
    for start, rows in _blocks(first, second):
        near = rows <= most_distance
        pairs += int(near.sum())
        for row in np.flatnonzero(near.any(axis=1)):
            images += 1
            other = int(rows[row].argmin())
            closest.append((start + int(row), other, int(rows[row, other])))
        closest = sorted(closest, key=lambda match: match[2])[:most]
    return Matches(pairs=pairs, images=images, closest=tuple(closest))


def _blocks(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, distances of some of the M to all N), at most `_BLOCK` distances at a time where N allows it."""
    if not len(second):
        return
    step = max(1, _BLOCK // (8 * len(second)))
    for start in range(0, len(first), step):
        yield start, distances(first[start : start + step], second)
