"""Near-infrared images of one channel, as reflectance.

Decoded values are (H, W) float32 reflectance, 1 for a surface that returns all light: stored / white. `white` is 255
for 8-bit files, 65535 for 16-bit files and 1 for floats (`.npy`, TIFF) unless the recipe says otherwise: 4095 for a
12-bit camera that writes 16-bit files. NaN, infinite values and the stored value `missing` are no readings. Grey
images that a camera saved as colour are taken if their three channels are equal.

Encodings: fixed-range from `low` to `high` (0 and 1), or min-max of each image. The one channel is repeated to the
student's channels, as EdgeVL does with its second sensor (Cai et al., ECCV 2024, arXiv:2403.04908).
Does not: correct vignetting, black level or exposure. It imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

import edgefw
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


class NirConfig(MeasuredConfig):
    """How stored numbers become reflectance, and reflectance becomes an image."""

    white: float | None = Field(
        default=None, gt=0, description="stored number of reflectance 1; null: 255, 65535 or, for floats, 1"
    )
    missing: float | None = Field(default=None, description="stored number that means no reading")


class Nir:
    """Near-infrared images, see `edgefw.contracts.modality.Modality`."""

    name = "nir"
    colour = False
    unit = "reflectance 0..1"

    def __init__(self, config: NirConfig) -> None:
        self.config = config

    def preprocessing(self, input: InputSpec) -> Preprocessing:
        """Encode, resize, fill holes with 0, repeat channels, normalise."""
        config = self.config
        steps = [encode(config, 0.0, 1.0), *geometry(input.size, config.fit, config.filter)]
        steps += [*without_holes(config.filter), Step("repeat-channels", {"channels": input.channels})]
        last = Step("normalise", {"mean": input.mean, "std": input.std})
        return Preprocessing("nir", config.model_dump(mode="json"), (*steps, last))

    def decode(self, data: bytes, where: str) -> np.ndarray:
        """(H, W) float32 reflectance, NaN without a reading.

        Raises:
            DataError: if the bytes are empty, truncated, or no image of one channel.
        """
        stored = read_map(data, where, "near-infrared image", grey_colours=True)
        with np.errstate(over="ignore", invalid="ignore"):
            values = (stored.astype(np.float64) / (self.config.white or _white(stored.dtype))).astype(np.float32)
        known = np.isfinite(values)
        if self.config.missing is not None:
            known &= stored != self.config.missing
        return np.where(known, values, np.float32(np.nan))

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Grey, (H, W, 3) uint8, over the range of the encoding."""
        if self.config.encoding == "min-max":
            return grey_picture(values, *limits(values))
        named = self.config.low is not None and self.config.high is not None
        return grey_picture(values, *((self.config.low, self.config.high) if named else (0.0, 1.0)))  # type: ignore[arg-type]


def _white(dtype: np.dtype) -> float:
    if np.issubdtype(dtype, np.floating):
        return 1.0
    return 255.0 if dtype.itemsize == 1 else 65535.0


def build(config: NirConfig, context: edgefw.BuildContext) -> Nir:
    """The modality; it needs nothing from the context."""
    return Nir(config)


@edgefw.hookimpl
def edgefw_register_modalities(register: Register) -> None:
    """Offer `nir`."""
    register(edgefw.Technique(name="nir", config=NirConfig, build=build))
