"""ScanNet: exported frames of indoor RGB-D scans, with scene types.

    SOURCE/[scans/|scans_test/]scene0000_00/color/0.jpg     what the release's SensReader writes
                                            depth/0.png     16 bits, millimetres
                               scene0000_00.txt             "sceneType = Bedroom / Hotel"
    SOURCE/scannetv2_{train,val,test}.txt                   the official lists, or `splits=FOLDER`

Sources: Dai et al., ScanNet, CVPR 2017, arXiv:1702.04405; README, SensReader/python and Tasks/Benchmark of the repository
ScanNet/ScanNet; names of the 21 scene types as in TUI-NICR/nicr-scene-analysis-datasets (datasets/scannet). Every 100th
frame, and colour at the size of depth, as in EdgeVL (Cai et al., ECCV 2024, arXiv:2403.04908), which samples the nearest
pixel where this averages. The official test scenes have no scene type, and published numbers are of the official val
scenes: these become `test` here, and `val` is drawn from the official train scenes, so that nothing is selected on the
scenes that are reported (`official_val=val` keeps the lists as they are). Without lists, whole places (`scene0000`) are
drawn. `.sens` files are not read: export them first.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgefw.contracts.dataset import SPLITS
from edgefw.data.key_tables import read_keys
from edgefw.data.splits import Fractions, drawn_split
from edgefw.errors import DataError
from edgefw.preparing.download import Broken, Download, Image, Item, Layout, drawn_val, unusual_count
from edgefw.preparing.images import CopiedImage, MadeImage, colour, depth_counts, resized_colour
from edgefw.registry.config import TechniqueConfig

CLASSES = (
    "apartment", "bathroom", "bedroom/hotel", "bookstore/library", "classroom", "closet", "computer cluster",
    "conference room", "copy/mail room", "dining room", "game room", "gym", "hallway", "kitchen", "laundry room",
    "living room/lounge", "lobby", "office", "stairs", "storage/basement/garage", "misc",
)  # fmt: skip
_SPELLINGS = {"misc.": "misc", "computercluster": "computer cluster"}
_SCANS = {"": 1613, "train": 1201, "val": 312, "test": 100}
_PLACES = ("", "scans", "scans_test")


class ScanNetOptions(TechniqueConfig):
    """Which frames, their size, and the splits."""

    every: int = Field(default=100, ge=1, description="frames whose number is a multiple of this")
    rgb: Literal["depth-size", "original"] = Field(default="depth-size", description="size of the colour images")
    splits: str | None = Field(default=None, description="folder with scannetv2_{train,val,test}.txt; null: the source")
    official_val: Literal["test", "val"] = Field(default="test", description="what the official val scenes are here")
    val_from_train: float = Field(default=0.1, ge=0, lt=1, description="share of the train places drawn as val")
    fractions: Fractions = Field(default=Fractions(), description="shares where there are no lists")
    seed: int = Field(default=0, ge=0, description="changes what is drawn")


def read(source: Path, options: ScanNetOptions) -> Download:
    """The frames of all scans below `source`.

    Raises:
        DataError: if there is no scan, or a list cannot be read.
    """
    scans = _scans(source)
    lists = _lists(source, options.splits)
    items: list[Item] = []
    broken: list[Broken] = []
    left_out: dict[str, int] = {}
    for name, folder in scans.items():
        split = _split(name, lists, options)
        frames = dict(_frames(folder, options.every, broken))
        if split is None:
            reason = "the official test scenes have no scene type" if lists.get(name) == "test" else "in no split list"
            left_out[reason] = left_out.get(reason, 0) + len(frames)
            continue
        label = _label(folder / f"{name}.txt", broken)
        items += [
            Item(name=f"{name}/{stem}", split=split, label=label, images=_images(*pair, options.rgb))
            for stem, pair in frames.items()
        ]
    return Download(
        items=items,
        classes=CLASSES,
        modalities={"rgb": "{name: rgb}", "depth": "{name: depth, encoding: min-max}"},
        broken=broken,
        left_out=left_out,
        notes=_notes(scans, lists),
        licence="ScanNet Terms of Use",
    )


def _scans(source: Path) -> dict[str, Path]:
    """Scan name -> its folder, in the order of their names."""
    folders = [path for place in _PLACES for path in (source / place).glob("scene[0-9]*_[0-9]*") if path.is_dir()]
    if not folders:
        raise DataError(f"{source}: there is no scan folder such as scene0000_00, scans/scene0000_00 below it.")
    exported = {path.name: path for path in sorted(folders) if (path / "color").is_dir() or (path / "depth").is_dir()}
    if not exported:
        raise DataError(
            f"{folders[0]}: has neither color nor depth. Export the frames of the .sens files first, with the reader.py "
            "of ScanNet's SensReader/python: --export_color_images --export_depth_images."
        )
    return exported


def _lists(source: Path, named: str | None) -> dict[str, str]:
    """Scan name -> official split.

    Raises:
        DataError: if a folder is named and holds no list, or a list cannot be read.
    """
    folder = Path(named).expanduser() if named else source
    files = {split: folder / f"scannetv2_{split}.txt" for split in SPLITS}
    found = {name: split for split, file in files.items() if file.is_file() for name in read_keys(file)}
    if named and not found:
        raise DataError(
            f"splits={named}: there is no scannetv2_train.txt, scannetv2_val.txt or scannetv2_test.txt in it."
        )
    return found


def _split(name: str, lists: dict[str, str], options: ScanNetOptions) -> str | None:
    place = name.partition("_")[0]
    if not lists:
        return drawn_split(place, options.fractions, options.seed)
    official = lists.get(name)
    if official is None or options.official_val == "val":
        return official
    if official == "train":
        return drawn_val(place, options.val_from_train, options.seed)
    return "test" if official == "val" else None


def _frames(folder: Path, every: int, broken: list[Broken]) -> Iterator[tuple[str, tuple[Path, Path]]]:
    """(number as written, (colour, depth)) of every so many frames; a frame without its partner is broken."""
    colours, depths = (_numbered(folder / name) for name in ("color", "depth"))
    for number in sorted(colours.keys() | depths.keys()):
        if number % every:
            continue
        if number in colours and number in depths:
            yield colours[number].stem, (colours[number], depths[number])
        else:
            there, lacking = (colours, "depth") if number in colours else (depths, "color")
            broken.append(Broken(where=str(there[number]), reason=f"has no partner in {folder / lacking}"))


def _numbered(folder: Path) -> dict[int, Path]:
    files = (path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return {int(path.stem): path for path in files if path.stem.isascii() and path.stem.isdigit()}


def _images(rgb: Path, depth: Path, size: str) -> dict[str, Image]:
    made = MadeImage(where=str(rgb), ending=".jpg", make=partial(resized_colour, rgb, depth))
    rgb_image: Image = CopiedImage(rgb, colour) if size == "original" else made
    return {"depth": CopiedImage(depth, depth_counts), "rgb": rgb_image}


def _label(file: Path, broken: list[Broken]) -> str | None:
    """The scene type of a scan's text file; None if it has none."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        broken.append(Broken(where=str(file), reason=f"cannot be read ({error.strerror or error})"))
        return None
    fields = dict(line.split(" = ", 1) for line in lines if " = " in line)
    if "sceneType" not in fields:
        return None
    name = "/".join(part.strip() for part in fields["sceneType"].lower().split("/"))
    name = _SPELLINGS.get(name, name)
    if name in CLASSES:
        return name
    broken.append(
        Broken(where=str(file), reason=f"the scene type '{fields['sceneType']}' is none of the {len(CLASSES)}")
    )
    return None


def _notes(scans: dict[str, Path], lists: dict[str, str]) -> list[str]:
    if not lists:
        drawn = "no official lists (scannetv2_train.txt, ...) were found: the splits were drawn by place."
        return [drawn, *unusual_count(len(scans), _SCANS[""], "scans")]
    notes = []
    for split in sorted(set(lists.values()), key=SPLITS.index):
        notes += unusual_count(sum(lists.get(name) == split for name in scans), _SCANS[split], f"{split} scans")
    return notes


LAYOUT = Layout(options=ScanNetOptions, read=read)
