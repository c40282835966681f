"""NYU Depth V2, the labelled part: 1449 indoor RGB-D images with scene types.

    SOURCE = nyu_depth_v2_labeled.mat, or a folder that holds it; splits.mat beside it    (HDF5; MATLAB 5)
    SOURCE/{train,test}/{rgb,depth,scene_class}/0000.{png,png,txt}                        an exported folder

Sources: Silberman et al., Indoor Segmentation and Support Inference from RGBD Images, ECCV 2012, and its web page
(variables images, depths, rawDepths, sceneTypes, scenes; splits.mat with trainNdxs and testNdxs, counted from 1); the
exported folder is the one that TUI-NICR/nicr-scene-analysis-datasets writes (datasets/nyuv2). Scene types: all 27, as
EdgeVL evaluates, or the usual ten of Gupta et al., Learning Rich Features from RGB-D Images, ECCV 2014, section on scene
classification: the nine most common and "others". `depth=filled` takes the in-painted maps, `raw` the sensor's. Depth is
written as 16-bit millimetres. The official splits have no val: it is drawn from train, by scene;
an exported folder names no scenes, so there it is drawn by image, and images of one scene may lie on both sides.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from edgefw.data.splits import Fractions, drawn_split
from edgefw.errors import DataError
from edgefw.preparing.download import Broken, Download, Item, Layout, Unreadable, drawn_val, unusual_count
from edgefw.preparing.images import CopiedImage, MadeImage, colour, depth_counts
from edgefw.preparing.matlab import hdf5_texts, load_old, open_hdf5
from edgefw.registry.config import TechniqueConfig

FILE, SPLITS_FILE = "nyu_depth_v2_labeled.mat", "splits.mat"
CLASSES = (
    "basement", "bathroom", "bedroom", "bookstore", "cafe", "classroom", "computer lab", "conference room", "dinette",
    "dining room", "exercise room", "foyer", "furniture store", "home office", "home storage", "indoor balcony",
    "kitchen", "laundry room", "living room", "office", "office kitchen", "playroom", "printer room", "reception room",
    "student lounge", "study", "study room",
)  # fmt: skip
COMMON = (
    "bedroom", "kitchen", "living room", "bathroom", "dining room", "office", "home office", "classroom", "bookstore",
)  # fmt: skip
OTHERS = "others"
_SPELLINGS = {"excercise room": "exercise room"}
_IMAGES = 1449


class Nyu2Options(TechniqueConfig):
    """Which scene types, which depth, and the splits."""

    classes: Literal[27, 10] = Field(default=27, description="all scene types, or the nine most common and others")
    depth: Literal["filled", "raw"] = Field(default="filled", description="in-painted depth, or the sensor's own")
    splits: str | None = Field(default=None, description="splits.mat; null: the one beside the source, if any")
    val_from_train: float = Field(default=0.1, ge=0, lt=1, description="share of train drawn as val")
    fractions: Fractions = Field(default=Fractions(), description="shares where there is no splits.mat")
    seed: int = Field(default=0, ge=0, description="changes what is drawn")


def read(source: Path, options: Nyu2Options) -> Download:
    """The labelled images of the .mat file, or of an exported folder.

    Raises:
        DataError: if neither is there, or a file cannot be read.
    """
    file = source if source.is_file() else source / FILE
    broken: list[Broken] = []
    if file.is_file():
        items, notes = _from_mat(file, options, broken)
    elif (source / "train" / "rgb").is_dir():
        items, notes = _from_folder(source, options, broken), []
    else:
        raise DataError(f"{source}: neither {FILE}, nor an exported folder with train/rgb.")
    return Download(
        items=items,
        classes=CLASSES if options.classes == 27 else (*COMMON, OTHERS),
        modalities={"rgb": "{name: rgb}", "depth": "{name: depth, encoding: min-max}"},
        broken=broken,
        notes=[*notes, *unusual_count(len(items), _IMAGES, "images")],
        licence="NYU Depth V2 (research use, see its web page)",
    )


def _from_mat(file: Path, options: Nyu2Options, broken: list[Broken]) -> tuple[list[Item], list[str]]:
    depths = "depths" if options.depth == "filled" else "rawDepths"
    opened = open_hdf5(file, ("images", depths, "sceneTypes", "scenes"))
    types, scenes = hdf5_texts(opened, "sceneTypes"), hdf5_texts(opened, "scenes")
    counts = {name: len(opened[name]) for name in ("images", depths)} | {
        "sceneTypes": len(types),
        "scenes": len(scenes),
    }
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"{file}: the variables have different lengths: {listed}. Download it again.")
    official, notes = _official(file, options, len(types))
    items = []
    for index, (written, scene) in enumerate(zip(types, scenes)):
        label = _label(written, options, f"{file}: image {index + 1}", broken)
        split = official.get(index + 1) if official else drawn_split(scene, options.fractions, options.seed)
        if split == "train" and official:
            split = drawn_val(scene, options.val_from_train, options.seed)
        if split is None:
            broken.append(Broken(where=f"{file}: image {index + 1}", reason="is in no split of splits.mat"))
            continue
        rgb = MadeImage(f"{file}: images {index + 1}", ".png", partial(_rgb, opened, index))
        depth = MadeImage(f"{file}: {depths} {index + 1}", ".png", partial(_depth, opened[depths], index))
        items.append(Item(name=f"{index + 1:04d}", split=split, label=label, images={"rgb": rgb, "depth": depth}))
    return items, notes


def _official(file: Path, options: Nyu2Options, count: int) -> tuple[dict[int, str], list[str]]:
    """Image number, from 1 -> official split; empty without a splits.mat."""
    splits = Path(options.splits).expanduser() if options.splits else file.with_name(SPLITS_FILE)
    if options.splits is None and not splits.is_file():
        return {}, ["no splits.mat was found: the splits were drawn by scene."]
    numbers = load_old(splits, ("trainNdxs", "testNdxs"))
    names = (("trainNdxs", "train"), ("testNdxs", "test"))
    found = {int(number): split for name, split in names for number in numbers[name]}
    if found and max(found) > count:
        raise DataError(f"{splits}: names image {max(found)}, and {file.name} holds {count}.")
    return found, []


def _rgb(opened: Any, index: int) -> np.ndarray:
    """(H, W, 3) uint8 of MATLAB's (3, W, H)."""
    return np.ascontiguousarray(_slice(opened["images"], index).transpose(2, 1, 0))


def _depth(table: Any, index: int) -> np.ndarray:
    """(H, W) uint16 millimetres of MATLAB's (W, H) metres."""
    metres = _slice(table, index).T.astype(np.float64)
    return np.ascontiguousarray(np.clip(np.rint(np.nan_to_num(metres) * 1000), 0, 65535).astype(np.uint16))


def _slice(table: Any, index: int) -> np.ndarray:
    try:
        return np.asarray(table[index])
    except OSError as error:
        raise Unreadable(f"cannot be read from the file ({error})") from error


def _from_folder(source: Path, options: Nyu2Options, broken: list[Broken]) -> list[Item]:
    items = []
    folder = "depth" if options.depth == "filled" else "depth_raw"
    for half in ("train", "test"):
        for rgb in sorted((source / half / "rgb").glob("*.png")):
            depth = source / half / folder / rgb.name
            text = source / half / "scene_class" / f"{rgb.stem}.txt"
            absent = [path for path in (depth, text) if not path.is_file()]
            if absent:
                broken.append(Broken(where=str(rgb), reason=f"has no partner {absent[0]}"))
                continue
            label = _label(text.read_text(encoding="utf-8", errors="replace"), options, str(text), broken)
            split = half if half == "test" else drawn_val(rgb.stem, options.val_from_train, options.seed)
            images = {"rgb": CopiedImage(rgb, colour), "depth": CopiedImage(depth, depth_counts)}
            items.append(Item(name=rgb.stem, split=split, label=label, images=images))
    return items


def _label(written: str, options: Nyu2Options, where: str, broken: list[Broken]) -> str | None:
    name = written.strip().lower().replace("_", " ")
    name = _SPELLINGS.get(name, name)
    if name not in CLASSES:
        broken.append(
            Broken(where=where, reason=f"the scene type '{written.strip()[:40]}' is none of the {len(CLASSES)}")
        )
        return None
    return name if options.classes == 27 or name in COMMON else OTHERS


LAYOUT = Layout(options=Nyu2Options, read=read)
