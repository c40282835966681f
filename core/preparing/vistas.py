"""Mapillary Vistas: street-level photographs from all over the world; every class in an image is one of its labels.

    SOURCE/config_v2.0.json                        or config_v1.2.json, config.json: names of the class numbers
    SOURCE/training/images/abc.jpg                 validation/ alike
    SOURCE/training/v2.0/labels/abc.png            or v1.2/labels, labels: class numbers as a palette image

Source: Neuhold et al., The Mapillary Vistas Dataset, ICCV 2017, doi:10.1109/ICCV.2017.534, and the README of its
download. The official validation becomes `test`; val is drawn from training; the official testing has no masks and is
left out. Classes that the configuration does not evaluate (`"evaluate": false`) are none. That a mask is turned into labels by
presence follows Clip4Retrofit, section 4; the least share of pixels is ours, as the paper names none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edgefw.errors import DataError
from edgefw.preparing.download import Download, Layout, drawn_val, unusual_counts
from edgefw.preparing.masks import Masked, masked_items
from edgefw.registry.config import TechniqueConfig

_PLACES = {"v2.0": ("config_v2.0.json", "v2.0/labels"), "v1.2": ("config_v1.2.json", "v1.2/labels"),
           "plain": ("config.json", "labels")}  # fmt: skip
_COUNTS = {"training": 18_000, "validation": 2_000}


class VistasOptions(TechniqueConfig):
    """Which release, how much of an image makes a class present, and the splits."""

    release: Literal["auto", "v2.0", "v1.2", "plain"] = Field(
        default="auto",
        description="set of classes; plain: the first download's folders; auto: the newest that is there",
    )
    share: float = Field(default=0.001, ge=0, le=1, description="share of pixels from which a class is present")
    val_from_train: float = Field(default=0.1, ge=0, lt=1, description="share of train drawn as val")
    seed: int = Field(default=0, ge=0, description="changes what is drawn")


def read(source: Path, options: VistasOptions) -> Download:
    """All images of the official training and validation.

    Raises:
        DataError: if there is no configuration or no image where the download has them.
    """
    config, masks = _place(source, options.release)
    names = class_names(source / config)
    found = [_masked(source, split, image, masks, options) for split in _COUNTS for image in _images(source, split)]
    items, broken = masked_items(found, names, options.share)
    if not items and not broken:
        raise DataError(f"{source}: there is no image training/images/*.jpg below it.")
    return Download(
        items=items,
        classes=tuple(dict.fromkeys(names.values())),
        modalities={"rgb": "{name: rgb}"},
        broken=broken,
        left_out=_without_masks(source),
        notes=unusual_counts({split: len(_images(source, split)) for split in _COUNTS}, _COUNTS),
        licence="Mapillary Vistas (research use, see its web page)",
        template="a street scene with {a} {}",
    )


def class_names(config: Path) -> dict[int, str]:
    """Class number -> name in small letters, of the classes that the configuration evaluates.

    Raises:
        DataError: if the file cannot be read or holds no class.
    """
    try:
        labels: list[dict[str, Any]] = json.loads(config.read_text(encoding="utf-8"))["labels"]
        names = {at: str(label["readable"]).lower() for at, label in enumerate(labels) if label.get("evaluate", True)}
    except OSError as error:
        raise DataError(f"{config}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{config}: is no configuration of Vistas (a list `labels` with `readable` names).") from error
    if not names:
        raise DataError(f"{config}: names no class.")
    return names


def _place(source: Path, release: str) -> tuple[str, str]:
    wanted = list(_PLACES) if release == "auto" else [release]
    for name in wanted:
        if (source / _PLACES[name][0]).is_file():
            return _PLACES[name]
    files = ", ".join(_PLACES[name][0] for name in wanted)
    raise DataError(f"{source}: there is no {files}. Name the folder that the download was unpacked into.")


def _masked(source: Path, official: str, image: Path, masks: str, options: VistasOptions) -> Masked:
    drawn = drawn_val(image.stem, options.val_from_train, options.seed)
    split = "test" if official == "validation" else drawn
    return Masked(name=image.stem, split=split, image=image, mask=source / official / masks / f"{image.stem}.png")


def _images(source: Path, split: str) -> list[Path]:
    return sorted((source / split / "images").glob("*.jpg"))


def _without_masks(source: Path) -> dict[str, int]:
    count = len(_images(source, "testing"))
    return {"the official testing images have no masks": count} if count else {}


LAYOUT = Layout(options=VistasOptions, read=read)
