"""Random resized crop and mirroring, one draw for all modalities of a sample.

Idea and numbers: Szegedy et al. 2014, Going Deeper with Convolutions, arXiv:1409.4842, section 6 (area 8 % to 100 %,
aspect ratio 3/4 to 4/3), with the draw of torchvision's RandomResizedCrop: area uniform, ratio log-uniform, ten tries,
then the largest central crop. Two differences. The box is a fraction of the image, so that it fits every modality's
resolution; the ratio is therefore relative to the image's own (the student sees a square in either case), which is the
same thing for square images. And boxes are not rounded to whole pixels, so that RGB and depth of different resolution
stay aligned.

Pictures of 8 bits are resized with `filter`, measured values with `values_filter`; missing readings (NaN) never bleed
into their neighbours. Colours are not changed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

import edgefw
from edgefw.contracts.view import ViewDraw
from edgefw.runtime.resampling import Filter, resample

if TYPE_CHECKING:
    from edgefw.registry.technique import Register

_TRIES = 10
_Area = Annotated[float, Field(gt=0, le=1)]
_Ratio = Annotated[float, Field(gt=0)]


class CropFlipConfig(edgefw.TechniqueConfig):
    """Ranges of the draw, filters, and what the teacher sees."""

    size: int | None = Field(default=None, ge=1, le=4096, description="student's image size; null: the student's own")
    scale: tuple[_Area, _Area] = Field(default=(0.08, 1.0), description="smallest and largest share of the area")
    ratio: tuple[_Ratio, _Ratio] = Field(default=(3 / 4, 4 / 3), description="smallest and largest width / height")
    flip: float = Field(default=0.5, ge=0, le=1, description="probability of mirroring left and right")
    filter: Filter = Field(default="bicubic", description="resampling of 8-bit pictures")
    values_filter: Literal["nearest", "bilinear"] = Field(
        default="bilinear", description="resampling of measured values, such as depth"
    )
    teacher: Literal["crop", "clean"] = Field(default="crop", description="teacher sees the same crop, or all of it")

    @model_validator(mode="after")
    def _ranges_go_up(self) -> CropFlipConfig:
        for name, (low, high) in {"scale": self.scale, "ratio": self.ratio}.items():
            if low > high:
                raise ValueError(f"{name}: the first number is the smaller one, got {low} and {high}")
        return self


class CropFlip:
    """Crops and mirrors, see `edgefw.contracts.view.View`."""

    def __init__(self, config: CropFlipConfig) -> None:
        self.config = config
        self.size = config.size
        self.clean_teacher = config.teacher == "clean"
        self.recipe = (
            f"crop-flip scale={config.scale[0]!r},{config.scale[1]!r} ratio={config.ratio[0]!r},{config.ratio[1]!r} "
            f"flip={config.flip!r} teacher={config.teacher}"
        )

    def draw(self, rng: np.random.Generator) -> ViewDraw:
        """A box of random area, ratio and place, mirrored with probability `flip`."""
        width, height = self._sides(rng)
        left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        box = (left, top, min(1.0, left + width), min(1.0, top + height))
        return ViewDraw(box=box, flip=bool(rng.random() < self.config.flip), seed=int(rng.integers(2**31)))

    def geometric(self, image: np.ndarray, draw: ViewDraw, size: int) -> np.ndarray:
        """The box in (size, size[, C]), same dtype."""
        height, width = image.shape[:2]
        left, top, right, bottom = draw.box
        box = (left * width, top * height, right * width, bottom * height)
        filter = self.config.filter if image.dtype == np.uint8 else self.config.values_filter
        return _mirrored(resample(image, (size, size), filter, box=box), draw.flip)

    def photometric(self, image: np.ndarray, draw: ViewDraw, modality: Any) -> np.ndarray:
        """The image as it is."""
        return image

    def for_teacher(self, image: np.ndarray, draw: ViewDraw) -> np.ndarray:
        """The same box in whole pixels, not resized; or the clean image."""
        if self.config.teacher == "clean":
            return image
        height, width = image.shape[:2]
        left, right = _pixels(draw.box[0], draw.box[2], width)
        top, bottom = _pixels(draw.box[1], draw.box[3], height)
        return _mirrored(image[top:bottom, left:right], draw.flip)

    def _sides(self, rng: np.random.Generator) -> tuple[float, float]:
        low, high = self.config.ratio
        for _ in range(_TRIES):
            area = rng.uniform(*self.config.scale)
            ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
            width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if width <= 1 and height <= 1:
                return width, height
        return min(1.0, high), min(1.0, 1 / low)


def _pixels(start: float, end: float, length: int) -> tuple[int, int]:
    first = min(round(start * length), length - 1)
    return first, max(round(end * length), first + 1)


def _mirrored(image: np.ndarray, flip: bool) -> np.ndarray:
    return np.ascontiguousarray(image[:, ::-1] if flip else image)


def build(config: CropFlipConfig, context: edgefw.BuildContext) -> CropFlip:
    """The view; it needs nothing from the context."""
    return CropFlip(config)


@edgefw.hookimpl
def edgefw_register_views(register: Register) -> None:
    """Offer `crop-flip`."""
    register(edgefw.Technique(name="crop-flip", config=CropFlipConfig, build=build, paper="arXiv:1409.4842"))
