"""Depth maps in millimetres or metres, as min-max, metric-range or jet images.

Decoded values are (H, W) float32 metres, 0 where the sensor has no reading. Files: 16-bit PNG or TIFF (integers),
TIFF of floats, `.npy` of integers or floats. Integers are millimetres and floats are metres unless `unit_scale` says
otherwise. NaN, infinite and negative values are no readings. 8-bit files hold 255 mm at most, so they are refused
unless `unit_scale` says what a step means.

Encodings, for encoders that learnt on photographs (all repeated to the student's channels):
    min-max       (d - min) / (max - min) over the readings of one image; hides the absolute distance
    metric-range  (clip(d, near, far) - near) / (far - near); the same distance is the same grey in every image
    jet           the colours of the "jet" map on one of the two above (metric-range if near and far are given)
Missing readings become 0 (black) after resizing, and never bleed into their neighbours. `zeros: reading` counts them
as distance 0, which is what EdgeVL's code does (Cai et al., ECCV 2024, arXiv:2403.04908). HHA is not offered. It
imports no torch.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import Field, model_validator

import edgefw
from edgefw.errors import CapabilityError, DataError
from edgefw.runtime.preprocessing import Preprocessing, Step
from edgefw.runtime.resampling import Filter

if TYPE_CHECKING:
    from edgefw.contracts.student import InputSpec
    from edgefw.registry.technique import Register

_INTEGERS = ("L", "I", "I;16", "I;16B", "I;16L", "I;16N")
_NPY = b"\x93NUMPY"
_MILLIMETRE, _METRE = 0.001, 1.0


class DepthConfig(edgefw.TechniqueConfig):
    """How stored numbers become metres, and metres become an image."""

    encoding: Literal["min-max", "metric-range", "jet"] = Field(default="min-max", description="metres to 0..1")
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
        if self.encoding == "min-max" and self.near is not None:
            raise ValueError("encoding min-max takes no near and far; use metric-range")
        return self


class Depth:
    """Depth maps, see `edgefw.contracts.modality.Modality`."""

    name = "depth"
    colour = False
    unit = "metre"

    def __init__(self, config: DepthConfig) -> None:
        self.config = config

    def preprocessing(self, input: InputSpec) -> Preprocessing:
        """Encode, resize, fill holes with 0, repeat channels, normalise.

        Raises:
            CapabilityError: if jet is asked for and the student does not take three channels.
        """
        if self.config.encoding == "jet" and input.channels != 3:
            raise CapabilityError(f"depth encoding 'jet' gives 3 channels; the student takes {input.channels}.")
        steps = [*self._encode(), *self._geometry(input.size), *self._to_unit(input.channels)]
        last = Step("normalise", {"mean": input.mean, "std": input.std})
        return Preprocessing("depth", self.config.model_dump(mode="json"), (*steps, last))

    def decode(self, data: bytes, where: str) -> np.ndarray:
        """(H, W) float32 metres, 0 without a reading.

        Raises:
            DataError: if the bytes are empty, truncated, or no depth map.
        """
        if not data:
            raise DataError(f"{where}: the file is empty.")
        stored = _from_npy(data, where) if data.startswith(_NPY) else _from_image(data, where)
        if stored.dtype.itemsize == 1 and self.config.unit_scale is None:
            raise DataError(f"{where}: 8-bit values are no depth in millimetres. If they are depth, set unit_scale.")
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
        first = Step("min-max", {"invalid": invalid})
        if self.config.near is not None:
            first = Step("metric-range", {"near": self.config.near, "far": self.config.far, "invalid": invalid})
        return [first, Step("jet", {})] if self.config.encoding == "jet" else [first]

    def _geometry(self, size: int) -> list[Step]:
        filter = self._filter()
        if self.config.fit == "stretch":
            return [Step("resize", {"size": size, "filter": filter, "fit": "stretch"})]
        resize = Step("resize", {"size": size, "filter": filter, "fit": "shortest"})
        return [resize, Step("centre-crop", {"size": size})]

    def _to_unit(self, channels: int) -> list[Step]:
        if self.config.encoding == "jet":
            return [Step("scale", {"divisor": 255.0})]
        overshoots = self._filter() in ("bicubic", "lanczos")
        clip = [Step("clip", {"low": 0.0, "high": 1.0})] if overshoots else []
        return [Step("fill", {"value": 0.0}), *clip, Step("repeat-channels", {"channels": channels})]

    def _filter(self) -> Filter:
        return self.config.filter or ("bicubic" if self.config.encoding == "jet" else "bilinear")


def _from_npy(data: bytes, where: str) -> np.ndarray:
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a damaged header raises ValueError, SyntaxError, EOFError and others
        raise DataError(f"{where}: the .npy file cannot be read ({error}).") from error
    if not (np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)):
        raise DataError(f"{where}: an array of {values.dtype} is no depth map.")
    return _one_channel(values, where)


def _from_image(data: bytes, where: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode not in (*_INTEGERS, "F"):
                raise DataError(f"{where}: a colour image (mode {image.mode}) is no depth map of one channel.")
            return np.asarray(image)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: neither .npy nor an image format that Pillow knows.") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others
        raise DataError(f"{where}: the image cannot be decoded ({error}).") from error


def _one_channel(values: np.ndarray, where: str) -> np.ndarray:
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[:, :, 0]
    if values.ndim != 2 or values.size == 0:
        raise DataError(f"{where}: an array of shape {values.shape} is no depth map (height, width).")
    return values


def build(config: DepthConfig, context: edgefw.BuildContext) -> Depth:
    """The modality; it needs nothing from the context."""
    return Depth(config)


@edgefw.hookimpl
def edgefw_register_modalities(register: Register) -> None:
    """Offer `depth`."""
    register(edgefw.Technique(name="depth", config=DepthConfig, build=build))
