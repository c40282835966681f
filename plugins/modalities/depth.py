"""Depth maps in millimetres or metres, as min-max, metric-range or jet images.

Decoded values are (H, W) float32 metres, 0 where the sensor has no reading. Files: 16-bit PNG or TIFF (integers),
TIFF of floats, `.npy` of integers or floats. Integers are millimetres and floats are metres unless `unit_scale` says
otherwise. NaN, infinite and negative values are no readings. 8-bit files hold 255 mm at most, so they are refused
unless `unit_scale` says what a step means.

Encodings, for encoders that learnt on photographs (all repeated to the student's channels):
    min-max       (d - min) / (max - min) over the readings of one image; hides the absolute distance
    image-max     d / max, which keeps the zero: EdgeVL's encoding of NYU2
    metric-range  (clip(d, near, far) - near) / (far - near); the same distance is the same grey in every image
    grey          n / 255 of 8-bit files, whatever distance a step means: EdgeVL's encoding of SUN RGB-D, of which its
                  code reads 8-bit copies; `edgefw prepare sun-rgbd` writes 16-bit millimetres, for min-max
    jet           the colours of the "jet" map on one of the two above (metric-range if near and far are given)
Missing readings become 0 (black) after resizing, and never bleed into their neighbours. `zeros: reading` counts them
as distance 0, which is what EdgeVL's code does (Cai et al., ECCV 2024, arXiv:2403.04908); its ScanNet
encoding is min-max. Unlike that code, values are not rounded to 8 bits on the way. HHA is not offered. It imports no
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

import edgefw
from edgefw.errors import CapabilityError, DataError
from edgefw.plugins.modalities.measured_images import geometry, without_holes
from edgefw.plugins.modalities.stored_maps import read_map
from edgefw.runtime.preprocessing import Preprocessing, Step
from edgefw.runtime.resampling import Filter

if TYPE_CHECKING:
    from edgefw.contracts.student import InputSpec
    from edgefw.registry.technique import Register

_MILLIMETRE, _METRE = 0.001, 1.0


class DepthConfig(edgefw.TechniqueConfig):
    """How stored numbers become metres, and metres become an image."""

    encoding: Literal["min-max", "image-max", "metric-range", "grey", "jet"] = Field(
        default="min-max", description="metres to 0..1; grey takes 8-bit values as they are"
    )
    near: float | None = Field(default=None, ge=0, description="metres shown as 0; for metric-range and jet")
    far: float | None = Field(default=None, gt=0, description="metres shown as 1; for metric-range and jet")
    unit_scale: float | None = Field(
        default=None, gt=0, description="metres per stored unit; null: 0.001 for integers, 1 for floats"
    )
    zeros: Literal["missing", "reading"] = Field(default="missing", description="what a stored 0 means")
    fit: Literal["stretch", "crop"] = Field(
        default="stretch", description="stretch to a square, or shorter side to the size and the middle cropped out"
    )
    filter: Filter | None = Field(default=None, description="resampling; null: bilinear, for jet bicubic")

    @model_validator(mode="after")
    def _near_and_far_belong_together(self) -> DepthConfig:
        if (self.near is None) != (self.far is None):
            raise ValueError("give both near and far, or neither")
        if self.near is not None and self.far is not None and self.far <= self.near:
            raise ValueError(f"far must be larger than near, got near {self.near} and far {self.far}")
        if self.encoding == "metric-range" and self.near is None:
            raise ValueError("encoding metric-range needs near and far, in metres")
        if self.encoding not in ("metric-range", "jet") and self.near is not None:
            raise ValueError(f"encoding {self.encoding} takes no near and far; use metric-range")
        if self.encoding == "grey" and self.unit_scale is not None:
            raise ValueError("encoding grey knows no metres, so it takes no unit_scale; use metric-range")
        return self


class Depth:
    """Depth maps, see `edgefw.contracts.modality.Modality`."""

    name = "depth"
    colour = False

    def __init__(self, config: DepthConfig) -> None:
        self.config = config
        self.unit = "grey 0..1" if config.encoding == "grey" else "metre"

    def preprocessing(self, input: InputSpec) -> Preprocessing:
        """Encode, resize, fill holes with 0, repeat channels, normalise.

        Raises:
            CapabilityError: if jet is asked for and the student does not take three channels.
        """
        if self.config.encoding == "jet" and input.channels != 3:
            raise CapabilityError(f"depth encoding 'jet' gives 3 channels; the student takes {input.channels}.")
        steps = [
            *self._encode(),
            *geometry(input.size, self.config.fit, self._filter()),
            *self._to_unit(input.channels),
        ]
        last = Step("normalise", {"mean": input.mean, "std": input.std})
        return Preprocessing("depth", self.config.model_dump(mode="json"), (*steps, last))

    def decode(self, data: bytes, where: str) -> np.ndarray:
        """(H, W) float32 metres, 0 without a reading.

        Raises:
            DataError: if the bytes are empty, truncated, or no depth map.
        """
        stored = read_map(data, where, "depth map")
        if self.config.encoding == "grey":
            return _grey(stored, where)
        if stored.dtype.itemsize == 1 and self.config.unit_scale is None:
            raise DataError(
                f"{where}: 8-bit values are no depth in millimetres. If they are depth, set unit_scale, or encoding: grey."
            )
        usual = _METRE if np.issubdtype(stored.dtype, np.floating) else _MILLIMETRE
        metres = stored.astype(np.float64) * (self.config.unit_scale or usual)
        with np.errstate(over="ignore"):
            values = metres.astype(np.float32)
        return np.where(np.isfinite(values) & (values > 0), values, np.float32(0))

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Grey min-max of the readings, (H, W, 3) uint8; near is dark, no reading is black."""
        known = values > 0
        low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
        scaled = (values - low) / (high - low if high > low else 1.0)
        grey = np.where(known, np.rint(scaled * 255), 0).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)

    def _encode(self) -> list[Step]:
        invalid = 0.0 if self.config.zeros == "missing" else None
        first = Step("image-max" if self.config.encoding == "image-max" else "min-max", {"invalid": invalid})
        near, far = (0.0, 1.0) if self.config.encoding == "grey" else (self.config.near, self.config.far)
        if near is not None:
            first = Step("metric-range", {"near": near, "far": far, "invalid": invalid})
        return [first, Step("jet", {})] if self.config.encoding == "jet" else [first]

    def _to_unit(self, channels: int) -> list[Step]:
        if self.config.encoding == "jet":
            return [Step("scale", {"divisor": 255.0})]
        return [*without_holes(self._filter()), Step("repeat-channels", {"channels": channels})]

    def _filter(self) -> Filter:
        return self.config.filter or ("bicubic" if self.config.encoding == "jet" else "bilinear")


def _grey(stored: np.ndarray, where: str) -> np.ndarray:
    if stored.dtype != np.uint8:
        raise DataError(
            f"{where}: encoding grey is for 8-bit files, this one holds {stored.dtype}. Use min-max or image-max."
        )
    return stored.astype(np.float32) / np.float32(255)


def build(config: DepthConfig, context: edgefw.BuildContext) -> Depth:
    """The modality; it needs nothing from the context."""
    return Depth(config)


@edgefw.hookimpl
def edgefw_register_modalities(register: Register) -> None:
    """Offer `depth`."""
    register(edgefw.Technique(name="depth", config=DepthConfig, build=build))
