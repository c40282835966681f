"""RGB photographs in any file format that Pillow reads.

Decoded values are (H, W, 3) uint8. What happens to unusual files is fixed and stated here: the EXIF orientation is
applied; greyscale is repeated; transparency is dropped without blending, as the teachers' own libraries do; palettes
are looked up; CMYK and other colour spaces are converted by Pillow's plain formulas, ICC profiles are not applied;
16-bit greyscale is scaled from 0..65535 to 0..255; of an animation the first picture counts. A truncated file is an
error, never a half-grey picture. It imports no torch and changes no colours.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field

import edgefw
from edgefw.errors import CapabilityError, DataError
from edgefw.runtime.preprocessing import Preprocessing, Step
from edgefw.runtime.resampling import Filter

if TYPE_CHECKING:
    from edgefw.contracts.student import InputSpec
    from edgefw.registry.technique import Register

_WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")


class RgbConfig(edgefw.TechniqueConfig):
    """How a photograph gets the student's size."""

    fit: Literal["stretch", "crop"] = Field(
        default="stretch", description="stretch to a square, or shorter side to the size and the middle cropped out"
    )
    filter: Filter = Field(default="bicubic", description="Pillow's resampling filter, antialiased")


class Rgb:
    """Photographs, see `edgefw.contracts.modality.Modality`."""

    name = "rgb"
    colour = True
    unit = "intensity 0..255"

    def __init__(self, config: RgbConfig) -> None:
        self.config = config

    def preprocessing(self, input: InputSpec) -> Preprocessing:
        """Resize, scale to 0..1, normalise.

        Raises:
            CapabilityError: if the student does not take three channels.
        """
        if input.channels != 3:
            raise CapabilityError(f"modality 'rgb' gives 3 channels; the student takes {input.channels}.")
        geometry = [Step("resize", {"size": input.size, "filter": self.config.filter, "fit": "stretch"})]
        if self.config.fit == "crop":
            geometry = [
                Step("resize", {"size": input.size, "filter": self.config.filter, "fit": "shortest"}),
                Step("centre-crop", {"size": input.size}),
            ]
        last = Step("normalise", {"mean": input.mean, "std": input.std})
        options: dict[str, Any] = self.config.model_dump(mode="json")
        return Preprocessing("rgb", options, (*geometry, Step("scale", {"divisor": 255.0}), last))

    def decode(self, data: bytes, where: str) -> np.ndarray:
        """(H, W, 3) uint8, upright.

        Raises:
            DataError: if the bytes are empty, truncated, or no photograph.
        """
        if not data:
            raise DataError(f"{where}: the file is empty.")
        try:
            with Image.open(io.BytesIO(data)) as image:
                ImageOps.exif_transpose(image, in_place=True)  # in place: copies of whole photographs cost time
                return np.asarray(_rgb(image, where))
        except DataError:
            raise
        except UnidentifiedImageError as error:
            if data[:4] in (b"II*\0", b"MM\0*"):
                raise DataError(f"{where}: a TIFF that Pillow cannot read as one colour picture.") from error
            raise DataError(f"{where}: no image format that Pillow knows.") from error
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others
            raise DataError(f"{where}: the image cannot be decoded ({error}).") from error

    def picture(self, values: np.ndarray) -> np.ndarray:
        """The photograph itself."""
        return values


def _rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode == "F":
        raise DataError(f"{where}: an image of floating-point numbers is no photograph.")
    plain = Image.fromarray(_grey(image, where)) if image.mode in _WIDE else image
    return plain if plain.mode == "RGB" else plain.convert("RGB")


def _grey(image: Image.Image, where: str) -> np.ndarray:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(f"{where}: 32-bit values outside 0..65535 are no photograph.")
    return np.asarray((values + 128) // 257, np.uint8)  # 65535 = 255 * 257


def build(config: RgbConfig, context: edgefw.BuildContext) -> Rgb:
    """The modality; it needs nothing from the context."""
    return Rgb(config)


@edgefw.hookimpl
def edgefw_register_modalities(register: Register) -> None:
    """Offer `rgb`."""
    register(edgefw.Technique(name="rgb", config=RgbConfig, build=build))
