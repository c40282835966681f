"""What modalities of measured values share: options, preprocessing steps, and a grey picture for people.

Values are physical and float; NaN is "no reading". An encoding takes them to 0..1:
    fixed-range   (clip(v, low, high) - low) / (high - low); the same value is the same grey in every image
    min-max       (v - min) / (max - min) over the readings of one image
Missing readings become 0 after resizing and never bleed into their neighbours.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

import edgefw
from edgefw.runtime.preprocessing import Step
from edgefw.runtime.resampling import Filter

Fit = Literal["stretch", "crop"]


class MeasuredConfig(edgefw.TechniqueConfig):
    """How physical values become an image of the student's size."""

    encoding: Literal["fixed-range", "min-max"] = Field(default="fixed-range", description="physical values to 0..1")
    low: float | None = Field(default=None, description="physical value shown as 0; for fixed-range")
    high: float | None = Field(default=None, description="physical value shown as 1; for fixed-range")
    fit: Fit = Field(
        default="stretch", description="stretch to a square, or shorter side to the size and the middle cropped out"
    )
    filter: Filter = Field(default="bilinear", description="Pillow's resampling filter, antialiased")

    @model_validator(mode="after")
    def _low_and_high_make_a_range(self) -> MeasuredConfig:
        if (self.low is None) != (self.high is None):
            raise ValueError("give both low and high, or neither")
        if self.low is not None and self.high is not None and self.high <= self.low:
            raise ValueError(f"high must be larger than low, got low {self.low} and high {self.high}")
        if self.encoding == "min-max" and self.low is not None:
            raise ValueError("encoding min-max takes no low and high; use fixed-range")
        return self


def encode(config: MeasuredConfig, low: float, high: float) -> Step:
    """The step of the config's encoding; `low` and `high` hold where the config names none."""
    if config.encoding == "min-max":
        return Step("min-max", {"invalid": None})
    near, far = (low, high) if config.low is None or config.high is None else (config.low, config.high)
    return Step("metric-range", {"near": near, "far": far, "invalid": None})


def geometry(size: int, fit: Fit, filter: Filter) -> list[Step]:
    """Resize to a square, or resize the shorter side and crop the middle."""
    if fit == "stretch":
        return [Step("resize", {"size": size, "filter": filter, "fit": "stretch"})]
    return [Step("resize", {"size": size, "filter": filter, "fit": "shortest"}), Step("centre-crop", {"size": size})]


def without_holes(filter: Filter) -> list[Step]:
    """Missing readings become 0; filters that overshoot are clipped to 0..1."""
    clip = [Step("clip", {"low": 0.0, "high": 1.0})] if filter in ("bicubic", "lanczos") else []
    return [Step("fill", {"value": 0.0}), *clip]


def grey_picture(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """(H, W) values as (H, W, 3) uint8: `low` and below is black, `high` and above white, NaN black."""
    span = high - low if high > low else 1.0
    scaled = (np.clip(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high) - low) / span
    return np.repeat(np.rint(scaled * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def limits(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest reading; 0 and 0 without one."""
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
