"""Views as a camera in the open gets them: moved, masked, discoloured, in weather.

Idea: the student sees a changed image where the teacher sees the clean one, so that its embedding learns to be the same in both.
    x~ = T(x) where u < share, else x,   u ~ U(0, 1)
T crops, mirrors and turns (one draw for all modalities of a sample), masks patches (likewise), and changes photographs: rain, snow,
fog, light, blur, noise, colours, JPEG, in that order, which is the order of the world, the lens, the sensor and the file.
Each change comes with a probability and a strength of its own, and how much it does is drawn up to that strength.
Source: Liu et al. 2022, Cross-Architecture Knowledge Distillation, arXiv:2207.05273, section 3.2, equation 7 (colour jitter, crop,
rotation, patch mask, share 1/2); used by Clip4Retrofit (Zhong et al. 2025, arXiv:2505.18039) as multi-view robust training.
Differs: the paper gives no strengths, and names neither weather nor blur, noise and JPEG; ours are for cameras in vehicles.
Where a sampler puts several views of a sample into a batch, number 0 is clean and all others are changed.
Does not: change colours of a modality that is no photograph (depth, thermal and the like are cropped, turned and masked); change
what the teacher sees; change the hue.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

import edgefw
from edgefw.contracts.view import ViewDraw
from edgefw.plugins.views import camera, weather
from edgefw.plugins.views.crop_flip import CropFlip, CropFlipConfig
from edgefw.plugins.views.rotation import rotated
from edgefw.runtime.resampling import Filter

if TYPE_CHECKING:
    from edgefw.registry.technique import Register

_Share = Annotated[float, Field(ge=0, le=1)]
_Area = Annotated[float, Field(gt=0, le=1)]
_Degrees = Annotated[float, Field(ge=0, le=180)]
_Chance = tuple[_Share, _Share]
_CELLS = 14
"""Cells along the side of the grid that patches are masked on: the patches of a ViT-B/16 at 224 pixels."""

CHANGES: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "rain": weather.rain,
    "snow": weather.snow,
    "fog": weather.fog,
    "light": weather.light,
    "blur": camera.blur,
    "noise": camera.noise,
    "colour": camera.jitter,
    "jpeg": camera.jpeg,
}
"""What is done to photographs, in this order; the options of the same names say how likely and how much."""
_PATCHES = len(CHANGES)


class MultiViewConfig(edgefw.TechniqueConfig):
    """How likely and how strong each change is."""

    size: int | None = Field(default=None, ge=1, le=4096, description="student's image size; null: the student's own")
    share: _Share = Field(
        default=0.5, description="share of views that are changed, where a batch holds one per sample"
    )
    scale: tuple[_Area, _Area] = Field(
        default=(0.6, 1.0), description="smallest and largest share of the area in a crop"
    )
    flip: _Share = Field(default=0.5, description="probability of mirroring left and right")
    rotate: tuple[_Share, _Degrees] = Field(default=(0.5, 10.0), description="probability, and most degrees either way")
    patches: _Chance = Field(default=(0.3, 0.2), description="probability, and largest share of 14 x 14 cells masked")
    rain: _Chance = Field(default=(0.1, 0.5), description="probability and strength of streaks")
    snow: _Chance = Field(default=(0.1, 0.5), description="probability and strength of flakes")
    fog: _Chance = Field(default=(0.15, 0.6), description="probability and strength of haze; 1 hides the image")
    light: _Chance = Field(
        default=(0.3, 0.5), description="probability and strength of darker or brighter; 1: two stops"
    )
    blur: _Chance = Field(default=(0.2, 0.5), description="probability and strength; 1: a Gaussian of 2 % of the side")
    noise: _Chance = Field(default=(0.3, 0.5), description="probability and strength; 1: a standard deviation of 0.2")
    colour: _Chance = Field(
        default=(0.8, 0.4), description="probability, and most change of brightness, contrast and saturation"
    )
    jpeg: _Chance = Field(default=(0.3, 0.6), description="probability and strength; 1: a quality of 5")
    filter: Filter = Field(default="bicubic", description="resampling of 8-bit pictures")
    values_filter: Literal["nearest", "bilinear"] = Field(
        default="bilinear", description="resampling of measured values, such as depth"
    )

    @model_validator(mode="after")
    def _areas_go_up(self) -> MultiViewConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: the first number is the smaller one, got {self.scale[0]} and {self.scale[1]}")
        return self


@dataclass(frozen=True, kw_only=True)
class MultiViewDraw(ViewDraw):
    """A draw of a changed view: `angle` in degrees, counter-clockwise. The seed decides all that is not geometry."""

    angle: float = 0.0


class MultiView:
    """Changed and clean views, see `edgefw.contracts.view.View`; a plain `ViewDraw` is a clean one."""

    clean_teacher = True

    def __init__(self, config: MultiViewConfig) -> None:
        self.config = config
        self.size = config.size
        self.recipe = f"multi-view {json.dumps(config.model_dump(mode='json', exclude={'size'}))}"
        self._crop = CropFlip(
            CropFlipConfig(
                scale=config.scale, flip=config.flip, filter=config.filter, values_filter=config.values_filter
            )
        )

    def draw(self, rng: np.random.Generator) -> ViewDraw:
        """A changed view with probability `share`, else the clean one."""
        return self._changed(rng) if rng.random() < self.config.share else ViewDraw()

    def draw_number(self, rng: np.random.Generator, number: int) -> ViewDraw:
        """The clean view for 0, a changed one for any other number."""
        return self._changed(rng) if number else ViewDraw()

    def geometric(self, image: np.ndarray, draw: ViewDraw, size: int) -> np.ndarray:
        """The crop in (size, size[, C]), mirrored, then turned; same dtype."""
        cropped = self._crop.geometric(image, draw, size)
        return rotated(cropped, draw.angle) if isinstance(draw, MultiViewDraw) else cropped

    def photometric(self, image: np.ndarray, draw: ViewDraw, modality: Any) -> np.ndarray:
        """Weather, lens, sensor and file for photographs; masked patches for every modality."""
        if not isinstance(draw, MultiViewDraw):
            return image
        if modality.colour:
            for place, (name, change) in enumerate(CHANGES.items()):
                probability, strength = getattr(self.config, name)
                rng = np.random.default_rng([draw.seed, place])
                if rng.random() < probability:
                    image = np.clip(change(image, strength, rng), 0, 1).astype(np.float32, copy=False)
        return self._masked(image, np.random.default_rng([draw.seed, _PATCHES]))

    def for_teacher(self, image: np.ndarray, draw: ViewDraw) -> np.ndarray:
        """The image as it is."""
        return image

    def _changed(self, rng: np.random.Generator) -> MultiViewDraw:
        probability, most = self.config.rotate
        angle = float(rng.uniform(-most, most)) if rng.random() < probability else 0.0
        crop = self._crop.draw(rng)
        return MultiViewDraw(box=crop.box, flip=crop.flip, seed=crop.seed, angle=angle)

    def _masked(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cells of a grid, the same ones in every modality, hold the mean of the image."""
        probability, most = self.config.patches
        if rng.random() >= probability:
            return image
        hidden = rng.random((_CELLS, _CELLS)) < rng.uniform(0, most)
        rows, columns = (np.arange(length) * _CELLS // length for length in image.shape[:2])
        mask = hidden[rows[:, None], columns[None, :]][:, :, None]
        return np.where(mask, image.mean(axis=(0, 1), dtype=np.float32), image)


def build(config: MultiViewConfig, context: edgefw.BuildContext) -> MultiView:
    """The view; it needs nothing from the context."""
    return MultiView(config)


@edgefw.hookimpl
def edgefw_register_views(register: Register) -> None:
    """Offer `multi-view`."""
    register(
        edgefw.Technique(
            name="multi-view",
            config=MultiViewConfig,
            build=build,
            provides=frozenset({"clean"}),
            paper="arXiv:2207.05273",
        )
    )
