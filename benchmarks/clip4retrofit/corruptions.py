"""Eight corruptions at three severities: what a student that saw varied views in training is tested with.

| corruption | severity 1, 2, 3 | the nearest change of view `multi-view` at its defaults |
|---|---|---|
| noise | Gaussian, deviation 0.12, 0.18, 0.26 | the same family, up to 0.10 |
| motion-blur | a line of 10, 16, 24 % of the side at any angle | a round blur of up to 1 % (another shape) |
| jpeg | quality 30, 18, 8 | the same family, down to 41 |
| fog | haze 0.75, 0.85, 0.93 through, in clouds | the same family, 0.6 at most, drawn otherwise |
| rain | strength 0.6, 0.8, 1 of the view's own drawing | the same drawing, up to 0.5; how many drops is drawn, so they overlap |
| brightness | 0.25, 0.38, 0.5 added | the same family, by factors of 0.5 to 2 |
| contrast | 0.45, 0.3, 0.18 of it left | the same family, 0.6 to 1.4 |
| pixelate | 50, 35, 25 % of the side left | none |

Families are those of Hendrycks and Dietterich 2019, arXiv:1903.12261; strengths and drawing are ours. No severity of noise, JPEG,
fog and contrast lies inside the range that training draws from. `FAMILIES_IN_TRAINING` names those that training has, too. A corruption is a function of the image, its key and
the severity: the same pixels on every run. Knows arrays alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np

from edgefw.plugins.views.camera import as_jpeg, grey
from edgefw.plugins.views.weather import rain as drawn_rain
from edgefw.runtime.resampling import resample

SEVERITIES = (1, 2, 3)
FAMILIES_IN_TRAINING = ("noise", "jpeg", "fog", "rain", "brightness", "contrast")
_HAZE = 0.8
_SAMPLES = 32
"""Points along the line of a motion blur."""


def corrupt(image: np.ndarray, name: str, severity: int, key: str) -> np.ndarray:
    """The image (H, W, 3) uint8 under a corruption, of the same shape and type.

    Args:
        image: as decoded, at its own resolution.
        name: of `CORRUPTIONS`.
        severity: 1 to 3.
        key: of the sample; with name and severity it decides all that is random.
    """
    digest = hashlib.blake2b(f"{key}\0{name}\0{severity}".encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
    changed = CORRUPTIONS[name](image.astype(np.float32) / 255, severity - 1, rng)
    return np.rint(np.clip(changed, 0, 1) * 255).astype(np.uint8)


def _noise(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    deviation = np.float32((0.12, 0.18, 0.26)[level])
    return np.asarray(image + deviation * rng.standard_normal(image.shape, dtype=np.float32))


def _motion_blur(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """The mean of the image moved along a line, by whole pixels, the edge repeated."""
    length = (0.10, 0.16, 0.24)[level] * max(image.shape[:2])
    angle = rng.uniform(0, math.pi)
    reach = math.ceil(length / 2)
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(image)
    for place in np.linspace(-length / 2, length / 2, _SAMPLES):
        down, across = reach + round(place * math.sin(angle)), reach + round(place * math.cos(angle))
        total += padded[down : down + image.shape[0], across : across + image.shape[1]]
    return total / np.float32(_SAMPLES)


def _jpeg(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return as_jpeg(image, (30, 18, 8)[level])


def _fog(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Clouds of two sizes; a share of the image, never less than four fifths of the severity's, is haze."""
    clouds = sum(
        weight * resample(rng.random((cells, cells), dtype=np.float32), image.shape[:2], "bilinear")
        for cells, weight in ((3, 0.6), (9, 0.4))
    )
    share = np.float32((0.75, 0.85, 0.93)[level]) * (np.float32(0.8) + np.float32(0.2) * clouds[:, :, None])
    return np.asarray(image + (np.float32(_HAZE) - image) * share)


def _rain(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return drawn_rain(image, (0.6, 0.8, 1.0)[level], rng)


def _brightness(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return image + np.float32((0.25, 0.38, 0.5)[level])


def _contrast(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    middle = grey(image).mean(dtype=np.float32)
    return np.asarray(middle + (image - middle) * np.float32((0.45, 0.3, 0.18)[level]))


def _pixelate(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Each square of a coarse grid holds its mean."""
    height, width = image.shape[:2]
    share = (0.5, 0.35, 0.25)[level]
    size = max(1, round(height * share)), max(1, round(width * share))
    pixels = np.rint(image * 255).astype(np.uint8)
    coarse = resample(pixels, size, "box")
    rows, columns = (np.arange(length) * few // length for length, few in zip((height, width), size))
    return coarse[rows[:, None], columns[None, :]].astype(np.float32) / 255


CORRUPTIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "noise": _noise,
    "motion-blur": _motion_blur,
    "jpeg": _jpeg,
    "fog": _fog,
    "rain": _rain,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
}
