"""No augmentation: the whole image, resized to the student's size.

With the default options of the first-party modalities this is the same resize as in evaluation: bicubic for 8-bit
pictures, bilinear for measured values, both antialiased. It draws nothing at random; the teacher sees the clean image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

import edgefw
from edgefw.contracts.view import ViewDraw
from edgefw.runtime.preprocessing import shortest_side
from edgefw.runtime.resampling import natural_filter, resample

if TYPE_CHECKING:
    import numpy as np

    from edgefw.registry.technique import Register


class NoneConfig(edgefw.TechniqueConfig):
    """The size, and how an image that is not square gets it."""

    size: int | None = Field(default=None, ge=1, le=4096, description="student's image size; null: the student's own")
    fit: Literal["stretch", "crop"] = Field(
        default="stretch", description="stretch to a square, or shorter side to the size and the middle cropped out"
    )


class NoView:
    """The identity among views, see `edgefw.contracts.view.View`."""

    clean_teacher = True

    def __init__(self, config: NoneConfig) -> None:
        self.size = config.size
        self.recipe = "none"
        self._fit = config.fit

    def draw(self, rng: np.random.Generator) -> ViewDraw:
        """The whole image; nothing is taken from `rng`."""
        return ViewDraw()

    def geometric(self, image: np.ndarray, draw: ViewDraw, size: int) -> np.ndarray:
        """The image in (size, size[, C]), same dtype."""
        height, width = image.shape[:2]
        filter = natural_filter(image)
        if self._fit == "stretch":
            return resample(image, (size, size), filter)
        resized = resample(image, shortest_side(height, width, size), filter)
        top, left = round((resized.shape[0] - size) / 2), round((resized.shape[1] - size) / 2)
        return resized[top : top + size, left : left + size]

    def photometric(self, image: np.ndarray, draw: ViewDraw, modality: Any) -> np.ndarray:
        """The image as it is."""
        return image

    def for_teacher(self, image: np.ndarray, draw: ViewDraw) -> np.ndarray:
        """The image as it is."""
        return image


def build(config: NoneConfig, context: edgefw.BuildContext) -> NoView:
    """The view; it needs nothing from the context."""
    return NoView(config)


@edgefw.hookimpl
def edgefw_register_views(register: Register) -> None:
    """Offer `none`."""
    register(edgefw.Technique(name="none", config=NoneConfig, build=build))
