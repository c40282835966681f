"""A view: one geometric draw for all modalities of a sample, photometric changes per modality, replayable from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class ViewDraw:
    """One draw, in fractions of the image, so that it fits every modality's resolution.

    Attributes:
        box: (left, top, right, bottom), each 0..1.
        flip: mirror left and right, after the crop.
        seed: starts the photometric draws.
    """

    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    flip: bool = False
    seed: int = 0


class View(Protocol):
    """Draws and applies augmented views.

    `recipe` is a text that changes whenever what is drawn changes; it is part of the teacher cache's key.
    `size` is the student's image size in pixels, or None to take the student's own.
    A view whose `for_teacher` ignores the draw may set `clean_teacher = True`: a teacher cache then holds one answer per
    sample, however many views the student sees. Left out, it counts as False.
    """

    recipe: str
    size: int | None

    def draw(self, rng: np.random.Generator) -> ViewDraw:
        """The next view of a sample."""
        ...

    def geometric(self, image: np.ndarray, draw: ViewDraw, size: int) -> np.ndarray:
        """(H, W) or (H, W, C) of any dtype to (size, size[, C]) of the same dtype: crop, resize, mirror."""
        ...

    def photometric(self, image: np.ndarray, draw: ViewDraw, modality: Any) -> np.ndarray:
        """Changes of colour, noise and the like on a (size, size, C) float32 image in 0..1, by modality."""
        ...

    def for_teacher(self, image: np.ndarray, draw: ViewDraw) -> np.ndarray:
        """What the teacher sees of an (H, W, 3) uint8 RGB image: the same crop at full resolution, or the clean image."""
        ...


@runtime_checkable
class Numbering(Protocol):
    """A view that shows a sample as it is beside varied views of it, in one batch. It provides "clean".

    Other views give every number a draw of its own, and no number is clean.
    """

    def draw_number(self, rng: np.random.Generator, number: int) -> ViewDraw:
        """View `number` of a sample that stands in a batch several times; number 0 is the whole image, unchanged."""
        ...
