"""Thermal images: temperatures of radiometric files, or grey of a gain control.

Decoded values are (H, W) float32 degrees Celsius, NaN where there is no reading. What a file stores is an option:
    centi-kelvin   T = 0.01 n - 273.15     the usual 16-bit radiometric format; the default for integers
    deci-kelvin    T = 0.1 n - 273.15      the high-gain-off format of the same cameras
    kelvin         T = n - 273.15
    celsius        T = n                   the default for floats (`.npy`, TIFF)
    grey           n / 255, 8-bit          no temperature: gain and offset changed with every image
Values at or below absolute zero and values that are not finite are no readings: cameras write 0 there.

Encodings: min-max of each image, which shows structure and hides the temperature; or fixed-range from `low` to `high`
degrees Celsius, in which the same temperature is the same grey in every image. The channel is repeated to the
student's channels, as EdgeVL does with its second sensor (Cai et al., ECCV 2024, arXiv:2403.04908).
Does not: correct for emissivity, reflected temperature or the air in between; what it shows is what the camera says.
It imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

import edgefw
from edgefw.errors import DataError
from edgefw.plugins.modalities.measured_images import (
    MeasuredConfig,
    encode,
    geometry,
    grey_picture,
    limits,
    without_holes,
)
from edgefw.plugins.modalities.stored_maps import read_map
from edgefw.runtime.preprocessing import Preprocessing, Step

if TYPE_CHECKING:
    from edgefw.contracts.student import InputSpec
    from edgefw.registry.technique import Register

Stored = Literal["centi-kelvin", "deci-kelvin", "kelvin", "celsius", "grey"]
ABSOLUTE_ZERO = -273.15
"""Degrees Celsius."""
_KELVIN_STEPS = {"centi-kelvin": 0.01, "deci-kelvin": 0.1, "kelvin": 1.0}


class ThermalConfig(MeasuredConfig):
    """What the numbers of a file are, and how temperatures become an image."""

    encoding: Literal["fixed-range", "min-max"] = Field(default="min-max", description="degrees Celsius to 0..1")
    stored: Stored | None = Field(
        default=None, description="what a file holds; null: centi-kelvin for 16-bit integers, celsius for floats"
    )

    @model_validator(mode="after")
    def _a_fixed_range_has_ends(self) -> ThermalConfig:
        if self.encoding == "fixed-range" and self.low is None:
            raise ValueError("encoding fixed-range needs low and high, in degrees Celsius (with stored: grey, 0..1)")
        return self


class Thermal:
    """Thermal images, see `edgefw.contracts.modality.Modality`."""

    name = "thermal"
    colour = False

    def __init__(self, config: ThermalConfig) -> None:
        self.config = config
        self.unit = "grey 0..1" if config.stored == "grey" else "degree Celsius"

    def preprocessing(self, input: InputSpec) -> Preprocessing:
        """Encode, resize, fill holes with 0, repeat channels, normalise."""
        config = self.config
        steps = [encode(config, 0.0, 1.0), *geometry(input.size, config.fit, config.filter)]
        steps += [*without_holes(config.filter), Step("repeat-channels", {"channels": input.channels})]
        last = Step("normalise", {"mean": input.mean, "std": input.std})
        return Preprocessing("thermal", config.model_dump(mode="json"), (*steps, last))

    def decode(self, data: bytes, where: str) -> np.ndarray:
        """(H, W) float32 degrees Celsius (or grey 0..1), NaN without a reading.

        Raises:
            DataError: if the bytes are empty, truncated, no image of one channel, or not what `stored` says.
        """
        stored = read_map(data, where, "thermal image", grey_colours=self.config.stored == "grey")
        kind = self.config.stored or _usual(stored.dtype, where)
        if kind == "grey":
            return _grey(stored, where)
        celsius = stored.astype(np.float64)
        if kind in _KELVIN_STEPS:
            celsius = celsius * _KELVIN_STEPS[kind] + ABSOLUTE_ZERO
        known = np.isfinite(celsius) & (celsius > ABSOLUTE_ZERO) & (celsius < 1e6)
        return np.where(known, celsius, np.nan).astype(np.float32)

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Grey, (H, W, 3) uint8, warm is bright: over the fixed range, or over each image's own."""
        if self.config.low is not None and self.config.high is not None:
            return grey_picture(values, self.config.low, self.config.high)
        return grey_picture(values, *limits(values))


def _usual(dtype: np.dtype, where: str) -> Stored:
    if np.issubdtype(dtype, np.floating):
        return "celsius"
    if dtype.itemsize == 1:
        raise DataError(
            f"{where}: 8-bit values are no temperatures. If the camera's gain control made them, set stored: grey."
        )
    return "centi-kelvin"


def _grey(stored: np.ndarray, where: str) -> np.ndarray:
    if stored.dtype != np.uint8:
        raise DataError(
            f"{where}: stored: grey is for 8-bit files, this one holds {stored.dtype}. Set stored to its unit."
        )
    return stored.astype(np.float32) / np.float32(255)


def build(config: ThermalConfig, context: edgefw.BuildContext) -> Thermal:
    """The modality; it needs nothing from the context."""
    return Thermal(config)


@edgefw.hookimpl
def edgefw_register_modalities(register: Register) -> None:
    """Offer `thermal`."""
    register(edgefw.Technique(name="thermal", config=ThermalConfig, build=build))
