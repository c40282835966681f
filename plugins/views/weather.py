"""What the weather does to a photograph, simply drawn: fog, rain, snow, and light that changes.

Each function takes an (H, W, C) float32 image in 0..1, a strength in 0..1 and a generator, and returns a new image that
may leave 0..1: the caller clips once. The families are those of Hendrycks and Dietterich 2019, Benchmarking Neural Network
Robustness to Common Corruptions, arXiv:1903.12261; the drawing is our own and not theirs, so that a test on their
corruptions stays a test on unseen ones. Knows arrays alone, no view and no modality.
"""

from __future__ import annotations

import numpy as np

from edgefw.plugins.views.camera import gaussian
from edgefw.runtime.resampling import resample

_HAZE = 0.85
_COARSE = 5  # cells along the side of a field of fog
_STOPS = 2.0  # change of light at strength 1, in factors of two
_RAIN, _SNOW = 0.02, 0.015  # share of pixels where a drop or flake begins, at strength 1


def light(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Darker or brighter by up to two stops."""
    return image * np.float32(2 ** (_STOPS * rng.uniform(-strength, strength)))


def fog(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A bright haze that is thicker in some places."""
    coarse = rng.random((_COARSE, _COARSE), dtype=np.float32)
    field = resample(coarse, image.shape[:2], "bilinear")[:, :, None]
    thickness = np.float32(rng.uniform(0.3, 1) * strength) * (0.5 + 0.5 * field)
    return image + (np.float32(_HAZE) - image) * thickness


def rain(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Bright streaks, all slanted alike, over an image that is a little darker."""
    height, width = image.shape[:2]
    length, slant = max(2, height // 16), rng.uniform(-0.5, 0.5)
    drops = rng.random((height, width)) < _RAIN * strength * rng.uniform(0.3, 1)
    streaks = np.zeros((height, width), bool)
    for step in range(length):
        streaks |= np.roll(drops, (step, round(step * slant)), axis=(0, 1))
    seen = gaussian(streaks.astype(np.float32)[:, :, None], 0.5)
    dark = image * np.float32(1 - 0.3 * strength)
    return np.asarray(dark + (np.float32(_HAZE) - dark) * seen * np.float32(0.6))


def snow(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """White flakes of one size."""
    height, width = image.shape[:2]
    flakes = rng.random((height, width)) < _SNOW * strength * rng.uniform(0.3, 1)
    size = 0.7 + height / 300
    spread = gaussian(flakes.astype(np.float32)[:, :, None], size)
    cover = np.clip(spread * np.float32(2 * np.pi * size**2), 0, 1)  # 1 in the middle of a flake
    return image + (1 - image) * cover
