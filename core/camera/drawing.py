"""Pictures for people to look at: a heat map laid over an image, lines of text on it. It knows arrays and Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgefw.runtime.preprocessing import JET

LEAST = 320
"""A picture whose longer side is shorter than this is enlarged by a whole factor, so that words fit on it."""

_SHARE = 0.5
_INK, _GROUND = (255, 255, 255), (0, 0, 0)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 that is large enough to be written on."""
    height, width = picture.shape[:2]
    factor = -(-LEAST // max(height, width))
    if factor <= 1:
        return picture
    return np.asarray(Image.fromarray(picture).resize((width * factor, height * factor), Image.Resampling.BICUBIC))


def with_heat(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 under the colours of a map (H, W), blue at its lowest and red at its highest value.

    Where the map is NaN the picture stays as it is; a flat map is blue.
    """
    known = np.isfinite(heat)
    low, high = (heat[known].min(), heat[known].max()) if known.any() else (0.0, 0.0)
    level = np.where(known, (heat - low) / (high - low if high > low else 1.0), 0.0)
    colours = JET[np.rint(255 * level).astype(np.intp)]
    mixed = np.rint((1 - _SHARE) * picture + _SHARE * colours).astype(np.uint8)
    return np.where(known[:, :, None], mixed, picture)


def with_lines(picture: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """A copy of a picture (H, W, 3) uint8 with lines of text in its upper left corner, white on black."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font, top = _font(max(12, picture.shape[0] // 24)), 2
    for line in lines:
        left, above, right, below = draw.textbbox((4, top), line, font=font)
        draw.rectangle((left - 3, above - 2, right + 3, below + 2), fill=_GROUND)
        draw.text((4, top), line, fill=_INK, font=font)
        top = int(below) + 5
    return np.asarray(image)


def side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one size as one."""
    return np.concatenate(list(pictures), axis=1)


def _font(size: int) -> Any:
    """Pillow's own font; before Pillow 10.1 it has one size."""
    try:
        return ImageFont.load_default(size)
    except TypeError:
        return ImageFont.load_default()
