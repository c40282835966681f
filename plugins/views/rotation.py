"""A square image turned about its middle; what comes in from outside repeats the edge.

Pictures of 8 bits are interpolated bilinearly. Measured values take the nearest pixel, so that missing readings (NaN)
never bleed into their neighbours. Knows arrays alone.
"""

from __future__ import annotations

import math

import numpy as np


def rotated(image: np.ndarray, degrees: float) -> np.ndarray:
    """An (H, W) or (H, W, C) image turned counter-clockwise, same shape and dtype."""
    if degrees == 0:
        return image
    rows, columns = _sources(image.shape[0], image.shape[1], math.radians(degrees))
    if image.dtype != np.uint8:
        nearest: np.ndarray = image[_inside(np.rint(rows), image.shape[0]), _inside(np.rint(columns), image.shape[1])]
        return nearest
    return _between(image, rows, columns)


def _sources(height: int, width: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of the result lies in the image: rows and columns (H, W)."""
    down = np.arange(height)[:, None] - (height - 1) / 2
    right = np.arange(width)[None, :] - (width - 1) / 2
    rows = down * math.cos(angle) + right * math.sin(angle) + (height - 1) / 2
    columns = -down * math.sin(angle) + right * math.cos(angle) + (width - 1) / 2
    return rows, columns


def _inside(places: np.ndarray, length: int) -> np.ndarray:
    inside: np.ndarray = np.clip(places, 0, length - 1).astype(np.intp)
    return inside


def _between(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = np.floor(rows).astype(np.intp), np.floor(columns).astype(np.intp)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    extra = (1,) * (image.ndim - 2)
    below = (rows - top).astype(np.float32).reshape(*rows.shape, *extra)
    beside = (columns - left).astype(np.float32).reshape(*rows.shape, *extra)
    upper = image[top, left] * (1 - beside) + image[top, right] * beside
    lower = image[bottom, left] * (1 - beside) + image[bottom, right] * beside
    mixed: np.ndarray = np.rint(upper * (1 - below) + lower * below).astype(np.uint8)
    return mixed
