"""Multispectral images as reflectance: chosen bands of a GeoTIFF, `.npy` or PNG.

Bands are chosen by name or number. Decoded values are float32 reflectance, (H, W) for one band and (H, W, n) for several: (stored + offset) * unit_scale.
`unit_scale` is 0.0001 for integers (Sentinel-2), 1/255 for 8-bit ones and 1 for floats; products since processing
baseline 04.00 have offset -1000. NaN, the stored number `missing` and a GeoTIFF's own no-data number are no readings.

Encodings: fixed-range from `low` to `high` reflectance; the default 0 to 0.4095 is clip(DN / 4095, 0, 1), EdgeVL's
(Cai et al., ECCV 2024, arXiv:2403.04908, released preparation of EuroSAT, which takes B12 and repeats it three times),
and `high: 1` is DN / 10000. Or min-max of each image, over its chosen bands together.
How the student takes the bands: `take: replicate` repeats one band to the student's channels; `take: bands` gives n
bands to a student of n channels (student timm: `channels`). `picture` names the red, green and blue band among the
chosen ones: such an image can be shown to the teacher.

Differs from EdgeVL: values are not rounded to 8 bits and compressed as JPEG in between.
Does not: reproject, resample bands to each other, correct the atmosphere, mask clouds. TIFF files need tifffile
(extra `multispectral`). It imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

import edgefw
from edgefw.errors import CapabilityError, DataError
from edgefw.plugins.modalities.band_names import (
    Band,
    Order,
    in_order,
    position,
    refuse_booleans,
    refuse_namesakes,
    refuse_repeated,
)
from edgefw.plugins.modalities.measured_images import (
    MeasuredConfig,
    encode,
    geometry,
    grey_picture,
    limits,
    without_holes,
)
from edgefw.plugins.modalities.stored_bands import Layout, read_bands
from edgefw.runtime.preprocessing import Preprocessing, Step

if TYPE_CHECKING:
    from edgefw.contracts.student import InputSpec
    from edgefw.registry.technique import Register

_LOW, _HIGH = 0.0, 0.4095
_SENTINEL_2 = 0.0001


class MultispectralConfig(MeasuredConfig):
    """Which bands, what their numbers are, and how the student takes them."""

    bands: Literal["all"] | Annotated[list[Band], Field(min_length=1, max_length=256)] = Field(
        description="bands by name or number (from 1), in the order in which the student gets them; or all"
    )
    names: Order | list[str] | None = Field(
        default=None, description="names of the file's bands in order: eurosat, sentinel-2-l1c, sentinel-2-l2a, a list"
    )
    take: Literal["replicate", "bands"] = Field(
        default="replicate", description="one band repeated to the student's channels, or each band a channel"
    )
    picture: Annotated[list[Band], Field(min_length=3, max_length=3)] | None = Field(
        default=None, description="red, green, blue among the bands: what the teacher is shown; null: shown to nobody"
    )
    unit_scale: float | None = Field(
        default=None, gt=0, description="reflectance per stored unit; null: 0.0001, 8-bit 1/255, floats 1"
    )
    offset: float = Field(default=0.0, description="added to stored numbers first")
    missing: float | None = Field(default=None, description="stored number that means no reading")
    layout: Layout = Field(default="auto", description="axis of .npy arrays that counts bands; auto: the shorter one")

    @field_validator("bands", "picture", mode="before")
    @classmethod
    def _no_boolean(cls, value: object) -> object:
        return refuse_booleans(value)

    @model_validator(mode="after")
    def _bands_exist_and_fit(self) -> MultispectralConfig:
        if self.bands == "all" and self.names is None:
            raise ValueError("bands: all needs names, so that their number is known; or list the bands")
        refuse_namesakes(in_order(self.names))
        chosen = self.positions
        if not isinstance(self.bands, str):
            refuse_repeated(self.bands, chosen)
        if self.take == "replicate" and len(chosen) != 1:
            raise ValueError(f"take: replicate needs one band, got {len(chosen)}; name one, or set take: bands")
        outside = [band for band in self.picture or () if position(band, in_order(self.names)) not in chosen]
        if outside:
            raise ValueError(f"picture: {outside[0]} is none of the chosen bands; add it to bands")
        return self

    @property
    def positions(self) -> tuple[int, ...]:
        """Places of the chosen bands in the file, from 0."""
        names = in_order(self.names)
        if isinstance(self.bands, str):
            return tuple(range(len(names or ())))
        return tuple(position(band, names) for band in self.bands)


class Multispectral:
    """Images of bands, see `edgefw.contracts.modality.Modality`."""

    name = "multispectral"
    colour = False
    unit = "reflectance 0..1"

    def __init__(self, config: MultispectralConfig) -> None:
        self.config = config
        self.shows_photographs = config.picture is not None
        self._positions = config.positions
        self._names = in_order(config.names)

    def preprocessing(self, input: InputSpec) -> Preprocessing:
        """Encode, resize, fill holes with 0, repeat the one band if so taken, normalise.

        Raises:
            CapabilityError: if each band is a channel and the student takes another number of channels.
        """
        config, count = self.config, len(self._positions)
        if config.take == "bands" and input.channels != count:
            raise CapabilityError(
                f"modality 'multispectral' gives {count} {'bands' if count > 1 else 'band'} (take: bands); the student "
                f"takes {input.channels} channels."
            )
        steps = [encode(config, _LOW, _HIGH), *geometry(input.size, config.fit, config.filter)]
        steps += without_holes(config.filter)
        if config.take == "replicate":
            steps.append(Step("repeat-channels", {"channels": input.channels}))
        options: dict[str, Any] = config.model_dump(mode="json")
        return Preprocessing(
            "multispectral", options, (*steps, Step("normalise", {"mean": input.mean, "std": input.std}))
        )

    def decode(self, data: bytes, where: str) -> np.ndarray:
        """(H, W) or (H, W, n) float32 reflectance of the chosen bands, NaN without a reading.

        Raises:
            DataError: if the bytes are empty, truncated, no image, or lack a chosen band.
        """
        stored, nodata = read_bands(data, where, self.config.layout)
        self._check_count(stored.shape[2], where)
        chosen = stored[:, :, list(self._positions)]
        scale = self.config.unit_scale or _usual_scale(stored.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            values = ((chosen.astype(np.float64) + self.config.offset) * scale).astype(np.float32)
        known = np.isfinite(values)
        for number in (self.config.missing, nodata):
            if number is not None:
                known &= chosen != number
        values = np.where(known, values, np.float32(np.nan))
        return values[:, :, 0] if values.shape[2] == 1 else values

    def picture(self, values: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 over the range of the encoding: `picture`'s bands, or the mean of the bands in grey."""
        low, high = self._range(values)
        if self.config.picture is None:
            return grey_picture(values if values.ndim == 2 else _mean(values), low, high)
        places = [self._positions.index(position(band, self._names)) for band in self.config.picture]
        planes = values if values.ndim == 3 else values[:, :, None]
        return np.stack([grey_picture(planes[:, :, place], low, high)[:, :, 0] for place in places], axis=2)

    def _range(self, values: np.ndarray) -> tuple[float, float]:
        if self.config.encoding == "min-max":
            return limits(values)
        low, high = self.config.low, self.config.high
        return (_LOW, _HIGH) if low is None or high is None else (low, high)

    def _check_count(self, found: int, where: str) -> None:
        if self._names is not None and found != len(self._names):
            raise DataError(
                f"{where}: the file has {found} bands, names lists {len(self._names)} ({', '.join(self._names)})."
            )
        if max(self._positions) >= found:
            raise DataError(
                f"{where}: the file has {found} bands, the recipe asks for band {max(self._positions) + 1}."
            )


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean of the bands that have a reading; NaN without any."""
    known = np.isfinite(values)
    count = known.sum(axis=2)
    total = np.where(known, values, 0).sum(axis=2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _usual_scale(dtype: np.dtype) -> float:
    if np.issubdtype(dtype, np.floating):
        return 1.0
    return 1 / 255 if dtype.itemsize == 1 else _SENTINEL_2


def build(config: MultispectralConfig, context: edgefw.BuildContext) -> Multispectral:
    """The modality; it needs nothing from the context."""
    return Multispectral(config)


@edgefw.hookimpl
def edgefw_register_modalities(register: Register) -> None:
    """Offer `multispectral`."""
    register(edgefw.Technique(name="multispectral", config=MultispectralConfig, build=build))
