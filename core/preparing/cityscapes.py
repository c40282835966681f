"""Cityscapes: street scenes of 27 cities; every class in an image is one of its labels.

    SOURCE/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png
    SOURCE/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png      class numbers 0..33
    SOURCE/gtFine/train/aachen/aachen_000000_000019_gtFine_*.json            not read

Source: Cordts et al., The Cityscapes Dataset, CVPR 2016, arXiv:1604.01685; class numbers as in its scripts. The official
val, on which published numbers are, becomes `test`; val is drawn from train by recording; the official test has no masks and
is left out. That a mask is turned into labels by presence follows Clip4Retrofit, section 4; the least share of
pixels is ours, as the paper names none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from edgefw.errors import DataError
from edgefw.preparing.download import Download, Layout, drawn_val, unusual_counts
from edgefw.preparing.masks import Masked, masked_items
from edgefw.registry.config import TechniqueConfig

USUAL = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
"""The 19 classes of the benchmark."""
OTHERS = {
    6: "ground", 9: "parking", 10: "rail track", 14: "guard rail", 15: "bridge", 16: "tunnel", 18: "pole group",
    29: "caravan", 30: "trailer",
}  # fmt: skip
_IMAGES, _MASKS = "_leftImg8bit.png", "_gtFine_labelIds.png"
_COUNTS = {"train": 2975, "val": 500}


class CityscapesOptions(TechniqueConfig):
    """Which classes, how much of an image makes one present, and the splits."""

    classes: Literal[19, 28] = Field(
        default=19, description="the benchmark's classes, or all that are things of a street"
    )
    share: float = Field(default=0.001, ge=0, le=1, description="share of pixels from which a class is present")
    val_from_train: float = Field(default=0.1, ge=0, lt=1, description="share of train drawn as val")
    seed: int = Field(default=0, ge=0, description="changes what is drawn")


def read(source: Path, options: CityscapesOptions) -> Download:
    """All images of the official train and val.

    Raises:
        DataError: if there is no image where the download has them.
    """
    names = USUAL if options.classes == 19 else dict(sorted((USUAL | OTHERS).items()))
    found = [_masked(source, split, image, options) for split in _COUNTS for image in _images(source, split)]
    items, broken = masked_items(found, names, options.share)
    if not items and not broken:
        raise DataError(f"{source}: there is no image leftImg8bit/train/<city>/*{_IMAGES} below it.")
    return Download(
        items=items,
        classes=tuple(names.values()),
        modalities={"rgb": "{name: rgb}"},
        broken=broken,
        left_out=_without_masks(source),
        notes=unusual_counts({split: len(_images(source, split)) for split in _COUNTS}, _COUNTS),
        licence="Cityscapes (non-commercial, see its licence agreement)",
        template="a street scene with {a} {}",
    )


def _masked(source: Path, official: str, image: Path, options: CityscapesOptions) -> Masked:
    """The frames of one recording, a drive through a city, stay in one split."""
    name = f"{image.parent.name}/{image.name.removesuffix(_IMAGES)}"
    drawn = drawn_val(name.rpartition("_")[0], options.val_from_train, options.seed)
    mask = source / "gtFine" / official / f"{name}{_MASKS}"
    return Masked(name=name, split="test" if official == "val" else drawn, image=image, mask=mask)


def _images(source: Path, split: str) -> list[Path]:
    return sorted((source / "leftImg8bit" / split).glob(f"*/*{_IMAGES}"))


def _without_masks(source: Path) -> dict[str, int]:
    count = len(_images(source, "test"))
    return {"the official test images have no masks": count} if count else {}


LAYOUT = Layout(options=CityscapesOptions, read=read)
