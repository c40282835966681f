"""Drawn images that a sensor could have given: a black frame, a flat one, patterns without symmetry. The same bits anywhere.

They are no substitute for real samples, on which accuracy is measured. They ask what held-out images seldom ask: what
happens in the dark, and whether every step from decoded values to the answer (resize filter, order of channels, numbers
of a normalisation, places where a depth sensor reads nothing) is the one that was verified. Made by integer arithmetic
alone, so that a device draws what the training machine drew. It knows arrays; no file, no sensor, no model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

Kind = Literal["uint8", "uint16", "int32", "float32", "float64"]
_KINDS: dict[str, Kind] = {"uint8": "uint8", "uint16": "uint16", "int32": "int32", "float64": "float64"}
"""Types of decoded values; any other one is drawn as float32."""
_Pixels = Annotated[int, Field(ge=1, le=16384)]
_LARGEST = 1 << 24
"""So many values a drawn image has at most: who names more in a bundle wants memory, not an answer."""
_STEPS = 960
"""Grey levels of a pattern, before it is stretched to a sensor's range."""


class ProbeSpec(BaseModel):
    """What a sensor's images look like: (H, W) or (H, W, C), their type, and the range of their readings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    shape: list[_Pixels] = Field(min_length=2, max_length=3)
    dtype: Kind
    low: float
    high: float

    @field_validator("shape")
    @classmethod
    def _can_be_drawn(cls, shape: list[int]) -> list[int]:
        if math.prod(shape) > _LARGEST:
            raise ValueError(f"{' x '.join(map(str, shape))} values are more than the {_LARGEST} of a drawn image")
        return shape


def spec_of(images: Sequence[np.ndarray], height: int, width: int) -> ProbeSpec:
    """The range and the type of real decoded images, for probes of `height` x `width` pixels (of fewer in these proportions, if one would be too large)."""
    smaller = min(1.0, math.sqrt(_LARGEST / math.prod((height, width, *images[0].shape[2:]))))
    known = [image[np.isfinite(image)] for image in images]
    return ProbeSpec(
        shape=[int(height * smaller), int(width * smaller), *images[0].shape[2:]],
        dtype=_KINDS.get(images[0].dtype.name, "float32"),
        low=float(min((values.min() for values in known if len(values)), default=0.0)),
        high=float(max((values.max() for values in known if len(values)), default=1.0)),
    )


def flat_images(spec: ProbeSpec) -> list[np.ndarray]:
    """A black frame, a frame at the end of the range, and one in its middle."""
    return [np.full(spec.shape, value, spec.dtype) for value in (0, spec.high, (spec.low + spec.high) / 2)]


def pattern_images(spec: ProbeSpec) -> list[np.ndarray]:
    """A ramp, blocks with holes, and waves that get finer; each channel and each direction differs from the others."""
    height, width = spec.shape[:2]
    row, column, channel = np.ogrid[:height, :width, : spec.shape[2] if len(spec.shape) == 3 else 1]
    return [_stretched(draw(row, column, channel), spec) for draw in (_ramp, _blocks, _waves)]


def _ramp(row: np.ndarray, column: np.ndarray, channel: np.ndarray) -> np.ndarray:
    down, across = row * (channel + 1) * _STEPS // row.size, column * (3 * channel + 1) * _STEPS // column.size
    result: np.ndarray = (down + across) % (_STEPS + 1)
    return result


def _blocks(row: np.ndarray, column: np.ndarray, channel: np.ndarray) -> np.ndarray:
    result: np.ndarray = (row // 9 * 7 + column // 13 * 11 + channel * 5) % 17 * 60
    return result


def _waves(row: np.ndarray, column: np.ndarray, channel: np.ndarray) -> np.ndarray:
    reach = row * (channel + 1) + column * 2
    result: np.ndarray = np.abs(reach * (reach + 41 * channel) // 97 % (2 * _STEPS // 5) - _STEPS // 5) * 5
    return result


def _stretched(values: np.ndarray, spec: ProbeSpec) -> np.ndarray:
    """0..960 to the sensor's range; the lowest value becomes 0, which sensors with holes give where they read nothing."""
    stretched = spec.low + values * ((spec.high - spec.low) / _STEPS)
    stretched = np.where(values == 0, 0.0, stretched).reshape(spec.shape)
    return (stretched if spec.dtype.startswith("float") else np.rint(stretched)).astype(spec.dtype)
