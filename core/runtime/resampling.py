"""Resize arrays with Pillow's filters: pictures, float maps, several channels, and maps with holes.

It knows arrays and filters; it knows nothing of modalities, views or files. One resampler serves training, `verify`
and the device, so that all three see the same pixels. NaN marks "no reading" in float arrays: it never bleeds into
its neighbours (normalised convolution, Knutsson and Westin 1993).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import Image

Filter = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]
Box = tuple[float, float, float, float]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
POINT_FILTERS: tuple[Filter, ...] = ("nearest", "bilinear", "bicubic")
"""Filters that also work without antialiasing."""


def natural_filter(values: np.ndarray) -> Filter:
    """The default filter of a dtype: bicubic for 8-bit pictures, bilinear for measured values (no overshoot)."""
    return "bicubic" if values.dtype == np.uint8 else "bilinear"


def resample(
    values: np.ndarray, size: tuple[int, int], filter: Filter, antialias: bool = True, box: Box | None = None
) -> np.ndarray:
    """Resize an array, or a part of it.

    Args:
        values: (H, W) or (H, W, C), any numeric dtype or bool. NaN in float arrays means "no reading".
        size: (height, width) of the result, pixels.
        filter: Pillow's filter; "nearest" never mixes pixels.
        antialias: widen the filter when shrinking, as Pillow does; False samples at the new pixel centres only, as
            `torch.nn.functional.interpolate(align_corners=False)` does. False needs one of `POINT_FILTERS`.
        box: (left, top, right, bottom) in pixels of `values`, fractions allowed; None takes all of it. Pixels just
            outside the box still count where the filter reaches over its edge.

    Returns:
        (height, width[, C]) of the same dtype. Integers are rounded and clipped to their range. A float pixel is NaN
        where less than half of the filter's weight falls on readings.
    """
    apply = _resizer(size, filter, antialias, box)
    if values.dtype == np.uint8:
        return _picture(values, apply)
    floats = values.astype(np.float32, copy=False)
    holes = np.isnan(floats)
    result = _floats_with_holes(floats, holes, apply) if _mixes(filter) and holes.any() else _floats(floats, apply)
    return _as_dtype(result, values.dtype)


_Resize = Callable[[Image.Image], Image.Image]


def _resizer(size: tuple[int, int], filter: Filter, antialias: bool, box: Box | None) -> _Resize:
    shape = (size[1], size[0])  # Pillow: width first
    if antialias or filter == "nearest":
        return lambda image: image.resize(shape, _FILTERS[filter], box=box)
    if filter not in POINT_FILTERS:
        raise ValueError(f"filter '{filter}' always antialiases; without antialiasing: {', '.join(POINT_FILTERS)}")
    return lambda image: image.transform(
        shape, Image.Transform.EXTENT, box or (0, 0, image.width, image.height), _FILTERS[filter]
    )


def _mixes(filter: Filter) -> bool:
    return filter != "nearest"


def _picture(values: np.ndarray, apply: _Resize) -> np.ndarray:
    if values.ndim == 2 or values.shape[2] == 3:
        return np.asarray(apply(Image.fromarray(np.ascontiguousarray(values))))
    return _per_channel(values, apply)


def _floats(values: np.ndarray, apply: _Resize) -> np.ndarray:
    if values.ndim == 2:
        return np.asarray(apply(Image.fromarray(np.ascontiguousarray(values))))
    return _per_channel(values, apply)


def _per_channel(values: np.ndarray, apply: _Resize) -> np.ndarray:
    planes = [np.ascontiguousarray(values[:, :, channel]) for channel in range(values.shape[2])]
    return np.stack([np.asarray(apply(Image.fromarray(plane))) for plane in planes], axis=2)


def _floats_with_holes(values: np.ndarray, holes: np.ndarray, apply: _Resize) -> np.ndarray:
    total = _floats(np.where(holes, np.float32(0), values), apply)
    weight = _floats((~holes).astype(np.float32), apply)
    known = weight >= 0.5
    result = np.full(total.shape, np.nan, np.float32)
    np.divide(total, weight, out=result, where=known)
    return result


def _as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype == np.bool_:
        return values >= 0.5
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values.astype(np.float64)), limits.min, limits.max).astype(dtype)
    return values.astype(dtype, copy=False)
