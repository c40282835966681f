"""SUN RGB-D: 10,335 indoor RGB-D images of four sensors, with scene types.

    SOURCE/[SUNRGBD/]kv2/kinect2data/000002_.../image/0000002.jpg   one folder a sample, at any depth
                                                depth_bfx/0000002.png   in-painted; depth/ as the sensor gave it
                                                scene.txt               "conference_room"
    SOURCE/**/allsplit.mat                                          official split of SUNRGBDtoolbox, or `splits=FILE`

Sources: Song et al., SUN RGB-D, CVPR 2015, pp. 567-576, and the README of its download; variables of allsplit.mat and the
sample folders as TUI-NICR/nicr-scene-analysis-datasets reads them (datasets/sunrgbd). The depth files hold millimetres
rotated left by three bits; they are written as plain 16-bit millimetres up to 8 m, as the toolbox's read3dPoints takes
them. `classes=19` keeps the 19 scene types with more than 80 images, the usual task; `all` keeps every image. The
official split has no val: it is drawn from train, for SUN3D videos by video.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from edgefw.data.splits import Fractions, drawn_split
from edgefw.errors import DataError
from edgefw.preparing.download import Broken, Download, Image, Item, Layout, drawn_val, unusual_count
from edgefw.preparing.images import CopiedImage, MadeImage, colour, depth_counts
from edgefw.preparing.matlab import load_old
from edgefw.registry.config import TechniqueConfig

USUAL = (
    "bathroom", "bedroom", "classroom", "computer room", "conference room", "corridor", "dining area", "dining room",
    "discussion area", "furniture store", "home office", "kitchen", "lab", "lecture theatre", "library", "living room",
    "office", "rest space", "study space",
)  # fmt: skip
FARTHEST_MM = 8000
SPLIT_FILE = "allsplit.mat"
_IMAGES = 10_335


class SunRgbdOptions(TechniqueConfig):
    """Which scene types, which depth, and the splits."""

    classes: Literal[19, "all"] = Field(default=19, description="the 19 usual scene types, or every image")
    depth: Literal["filled", "raw"] = Field(default="filled", description="depth_bfx, or the sensor's own depth")
    splits: str | None = Field(default=None, description="allsplit.mat; null: the one below the source, if any")
    val_from_train: float = Field(default=0.1, ge=0, lt=1, description="share of train drawn as val")
    fractions: Fractions = Field(default=Fractions(), description="shares where there is no allsplit.mat")
    seed: int = Field(default=0, ge=0, description="changes what is drawn")


def read(source: Path, options: SunRgbdOptions) -> Download:
    """All sample folders below `source`.

    Raises:
        DataError: if there is none, or allsplit.mat cannot be read.
    """
    folders, split_file = _walk(source)
    if not folders:
        raise DataError(f"{source}: there is no sample folder (with image, depth_bfx and scene.txt) below it.")
    file = Path(options.splits).expanduser() if options.splits else split_file
    official = _official(file) if file else {}
    items: list[Item] = []
    broken: list[Broken] = []
    left_out: dict[str, int] = {}
    for name in folders:
        scene = _scene(source / name)
        split = _split(name, official, options)
        if options.classes == 19 and scene not in USUAL:
            reason = f"the scene type is none of the {len(USUAL)}"
            left_out[reason] = left_out.get(reason, 0) + 1
        elif split is None:
            broken.append(Broken(where=str(source / name), reason=f"is in no split of {file}"))
        elif images := _images(source / name, options.depth, broken):
            items.append(Item(name=name, split=split, label=scene or None, images=images))
    labels = {item.label for item in items if item.label}
    return Download(
        items=items,
        classes=USUAL if options.classes == 19 else tuple(sorted(labels)),
        modalities={"rgb": "{name: rgb}", "depth": "{name: depth, encoding: min-max}"},
        broken=broken,
        left_out=left_out,
        notes=_notes(len(folders), bool(official)),
        licence="SUN RGB-D (research use, see its web page)",
    )


def _notes(count: int, official: bool) -> list[str]:
    drawn = [] if official else [f"no {SPLIT_FILE} was found: the splits were drawn."]
    return [*drawn, *unusual_count(count, _IMAGES, "images")]


def _walk(source: Path) -> tuple[list[str], Path | None]:
    """Paths of the sample folders below `source`, sorted, and allsplit.mat."""
    folders: list[str] = []
    split_file: Path | None = None
    for place, below, files in os.walk(source):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if "scene.txt" in files or "image" in below:
            folders.append(Path(place).relative_to(source).as_posix())
            below.clear()
        if SPLIT_FILE in files:
            split_file = Path(place) / SPLIT_FILE
    return sorted(folders), split_file


def _official(file: Path) -> dict[str, str]:
    """Path of a sample folder, from the sensor's folder on -> official split."""
    found = load_old(file, ("alltrain", "alltest"))
    names = (("alltrain", "train"), ("alltest", "test"))
    return {_from_sensor(str(path)): split for name, split in names for path in found[name]}


def _from_sensor(path: str) -> str:
    """What follows the folder SUNRGBD, without a slash at the end."""
    return path.rstrip("/").rpartition("SUNRGBD/")[2]


def _split(name: str, official: dict[str, str], options: SunRgbdOptions) -> str | None:
    path = _from_sensor(name)
    group = path.rpartition("/")[0] if "sun3ddata/" in path else path
    if not official:
        return drawn_split(group, options.fractions, options.seed)
    split = official.get(path)
    return drawn_val(group, options.val_from_train, options.seed) if split == "train" else split


def _scene(folder: Path) -> str:
    try:
        written = (folder / "scene.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return written.strip().lower().replace("_", " ")


def _images(folder: Path, depth: str, broken: list[Broken]) -> dict[str, Image]:
    colours = _files(folder / "image")
    depths = _files(folder / ("depth_bfx" if depth == "filled" else "depth"))
    if len(colours) != 1 or len(depths) != 1:
        reason = f"holds {len(colours)} colour and {len(depths)} depth images, not one of each"
        broken.append(Broken(where=str(folder), reason=reason))
        return {}
    made = MadeImage(where=str(depths[0]), ending=".png", make=partial(millimetres, depths[0]))
    return {"rgb": CopiedImage(colours[0], colour), "depth": made}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def millimetres(path: Path) -> np.ndarray:
    """(H, W) uint16 millimetres of a depth file: its 16 bits rotated right by three, at most `FARTHEST_MM`."""
    stored = depth_counts(path)
    rotated = (stored >> np.uint16(3)) | (stored << np.uint16(13))
    return np.minimum(rotated, np.uint16(FARTHEST_MM))


LAYOUT = Layout(options=SunRgbdOptions, read=read)
