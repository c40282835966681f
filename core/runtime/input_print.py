"""What a student was given, in few numbers: prepared images seen through random signs.

    print[p, j] = sum over k of sign(j, k) x[p, k] / sqrt(N),   x[p] the N numbers of one image, sign(j, k) +1 or -1

A difference of two inputs keeps its length in the mean (Achlioptas 2003, doi:10.1016/S0022-0000(03)00025-4), so any changed step of a preprocessing shows, be
it a filter or an encoding, whatever the files behind it round away. Signs are the lowest bits of splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195):
integer arithmetic, the same on every machine and in every numpy. It knows arrays; no image, no file.
"""

from __future__ import annotations

import numpy as np

WIDTH = 32
"""Numbers of a print: the length of a difference is told to about an eighth."""
_STEP, _FIRST, _SECOND = (np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def input_print(images: np.ndarray) -> np.ndarray:
    """(P, WIDTH) float32 of prepared images (P, C, H, W)."""
    rows = images.reshape(len(images), -1).astype(np.float64)
    seen = np.stack([rows @ _signs(number, rows.shape[1]) for number in range(WIDTH)], axis=1)
    scaled: np.ndarray = (seen / np.sqrt(rows.shape[1])).astype(np.float32)
    return scaled


def _signs(number: int, count: int) -> np.ndarray:
    """(count,) of +1 and -1."""
    with np.errstate(over="ignore"):
        state = (np.arange(count, dtype=np.uint64) * np.uint64(WIDTH) + np.uint64(number + 1)) * _STEP
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
    bits = (state ^ (state >> np.uint64(31))) & np.uint64(1)
    signs: np.ndarray = 1.0 - 2.0 * bits.astype(np.float64)
    return signs
