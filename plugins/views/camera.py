"""What a camera does to a photograph: colours, lens blur, sensor noise, JPEG.

Each function takes an (H, W, C) float32 image in 0..1, a strength in 0..1 and a generator, draws how much, and returns a
new image that may leave 0..1 by a little: the caller clips once. Knows arrays alone, no view and no modality.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_WIDEST_BLUR = 0.02  # standard deviation at strength 1, as a share of the image's side
_MOST_NOISE = 0.2  # standard deviation at strength 1
_BEST_JPEG, _QUALITY_RANGE = 95, 90


def jitter(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation, one after the other, each by a factor in 1 - strength to 1 + strength."""
    light, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    image = np.clip(image * light, 0, 1)
    image = np.clip(_mixed(grey(image).mean(dtype=np.float32), image, contrast), 0, 1)
    return _mixed(grey(image), image, saturation)


def grey(image: np.ndarray) -> np.ndarray:
    """(H, W, 1): luma of three channels, the mean of any other number."""
    if image.shape[2] != 3:
        return np.asarray(image.mean(axis=2, keepdims=True))
    return np.asarray((image @ _LUMA)[:, :, None])


def _mixed(flat: np.ndarray | np.float32, image: np.ndarray, factor: np.float32) -> np.ndarray:
    return flat + (image - flat) * factor


def blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian of up to 2 % of the image's side."""
    return gaussian(image, float(rng.uniform(0, strength)) * _WIDEST_BLUR * max(image.shape[:2]))


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """The image under a Gaussian of `sigma` pixels, cut off at three of them, the edge repeated."""
    radius = math.ceil(3 * sigma)
    if radius == 0:
        return image
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-6)) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (0, 1):
        image = _filtered(image, weights, axis)
    return image


def _filtered(image: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    radius, length = len(weights) // 2, image.shape[axis]
    edges = [(radius, radius) if at == axis else (0, 0) for at in range(image.ndim)]
    padded = np.moveaxis(np.pad(image, edges, mode="edge"), axis, 0)
    total = np.zeros_like(padded[:length])
    for place, weight in enumerate(weights):
        total += weight * padded[place : place + length]
    return np.moveaxis(total, 0, axis)


def noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of every number, of a standard deviation of up to 0.2."""
    deviation = np.float32(rng.uniform(0, strength) * _MOST_NOISE)
    return np.asarray(image + deviation * rng.standard_normal(image.shape, dtype=np.float32))


def jpeg(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Stored and read again, with a quality from 95 down to 5."""
    return as_jpeg(image, round(_BEST_JPEG - float(rng.uniform(0, strength)) * _QUALITY_RANGE))


def as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """The image as JPEG gives it back; channels that are no colours one by one."""
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    if pixels.shape[2] == 3:
        return _stored(pixels, quality)
    return np.stack([_stored(pixels[:, :, at], quality) for at in range(pixels.shape[2])], axis=2)


def _stored(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), np.float32) / np.float32(255)
