"""What a folder of data looks like: shards, a table, sensor folders side by side, or plain photographs.

It looks at names, at a table's header and at the first members of a shard, decodes nothing, and answers with the `data`
and `modalities` sections of a recipe. What it cannot tell apart it says.
"""

from __future__ import annotations

import csv
import json
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgefw.errors import DataError

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".npy"}
SPLITS = ("train", "val", "test")
_COLOUR = ("rgb", "color", "colour", "colors", "colours", "image", "images", "img", "photo", "path", "file", "filename")
_DEPTH = ("depth", "depths", "depth_png")
_LABEL = ("label", "class", "category", "class_name")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found.

    Attributes:
        layout: "folder", "csv", "webdataset" or "paired", for the message.
        data: options of the `data` section, with the technique's name; paths start from the data folder.
        modalities: modality name -> technique name.
        train: about how many training samples there are.
        labelled: whether samples have labels.
        splits: the splits there are, brought or drawn.
        table: rows of a table to write beside the recipe (header first), where files must be paired; empty otherwise.
    """

    layout: str
    data: Mapping[str, Any]
    modalities: Mapping[str, str]
    train: int
    labelled: bool
    splits: Sequence[str] = SPLITS
    table: Sequence[Sequence[str]] = field(default_factory=tuple)


def detect(folder: Path) -> Found:
    """Find out how the data in a folder is laid out.

    Raises:
        DataError: if the folder cannot be read, or holds nothing that looks like data.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: this is no folder. Give the folder that holds the images, shards or the table.")
    shards, tables = sorted(folder.rglob("*.tar")), sorted(folder.glob("*.csv"))
    if shards:
        return _shards(folder, shards)
    for table in tables:
        found = _table(table)
        if found:
            return found
    return _paired(folder) or _photographs(folder)


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES and path.is_file())


# ---- photographs -----------------------------------------------------------------------------------------------


def _photographs(folder: Path) -> Found:
    images = _images(folder)
    if not images:
        raise DataError(
            f"{folder}: no images, shards (.tar) or table (.csv) in it. Endings: {', '.join(sorted(IMAGES))}."
        )
    parts = [path.relative_to(folder).parts for path in images]
    brought = [split for split in SPLITS if any(part[0] == split and len(part) > 1 for part in parts)]
    data: dict[str, Any] = {"name": "folder"}
    if "train" in brought:
        train = sum(part[0] == "train" for part in parts)
        if "val" not in brought:
            data["val_from_train"] = 0.1
        splits = [split for split in SPLITS if split in (*brought, "val")]
    else:
        train, splits = round(0.8 * len(images)), list(SPLITS)
    labelled = any(len(part) > (2 if part[0] in brought else 1) for part in parts)
    return Found(layout="folder", data=data, modalities={"rgb": "rgb"}, train=train, labelled=labelled, splits=splits)


# ---- a table ---------------------------------------------------------------------------------------------------


def _table(file: Path) -> Found | None:
    """The table, if a column of it holds image paths."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as CSV ({error}).") from error
    paths = [name for name in (rows[0] if rows else {}) if name and _holds_images(file.parent, rows, name)]
    if not paths:
        return None
    sensors = _sensors(paths)
    columns = {sensor: column for sensor, column in sensors.items() if sensor != column}
    label = next((name for name in rows[0] if name in _LABEL), None)
    if label and label != "label":
        columns["label"] = label
    splits = sorted({row.get("split", "") for row in rows} & set(SPLITS), key=SPLITS.index) or list(SPLITS)
    train = sum(row["split"] == "train" for row in rows) if "split" in rows[0] else round(0.8 * len(rows))
    return Found(
        layout="csv",
        data={"name": "csv", "file": file.name, **({"columns": columns} if columns else {})},
        modalities=_modalities(sensors),
        train=train,
        labelled=label is not None,
        splits=splits,
    )


def _holds_images(folder: Path, rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    cells = [str(row[column] or "") for row in rows[:20]]
    return any(Path(cell).suffix.lower() in IMAGES and (folder / cell).is_file() for cell in cells if cell)


def _sensors(names: Iterable[str]) -> dict[str, str]:
    """Modality -> column, folder or ending that holds it: depth by its name, the first other one is the photograph."""
    sensors: dict[str, str] = {}
    for name in names:
        depth = any(word in re.split(r"[^a-z]+", name.lower()) for word in _DEPTH)
        sensors.setdefault("depth" if depth else "rgb", name)
    return dict(sorted(sensors.items(), reverse=True))


def _modalities(sensors: Iterable[str]) -> dict[str, str]:
    return {name: "depth" if name == "depth" else "rgb" for name in sensors}


# ---- sensor folders side by side -------------------------------------------------------------------------------


def _paired(folder: Path) -> Found | None:
    """`rgb/1.jpg` beside `depth/1.png`, perhaps below split folders, perhaps with class folders inside."""
    roots = {split: folder / split for split in SPLITS if (folder / split).is_dir()} or {"": folder}
    rows = [row for split, root in roots.items() for row in _pairs(folder, root, split)]
    if not rows:
        return None
    labelled = any(row[2] for row in rows)
    brought = [split for split in SPLITS if any(row[1] == split for row in rows)]
    keep = [at for at, name in enumerate(_COLUMNS) if (name != "split" or brought) and (name != "label" or labelled)]
    return Found(
        layout="paired",
        data={"name": "csv"},
        modalities={"rgb": "rgb", "depth": "depth"},
        train=sum(row[1] == "train" for row in rows) if brought else round(0.8 * len(rows)),
        labelled=labelled,
        splits=brought or SPLITS,
        table=[[row[at] for at in keep] for row in [_COLUMNS, *rows]],
    )


_COLUMNS = ("id", "split", "label", "rgb", "depth")


def _pairs(folder: Path, root: Path, split: str) -> list[tuple[str, ...]]:
    names = {path.name.lower(): path for path in root.iterdir() if path.is_dir()}
    colour = next((names[name] for name in _COLOUR if name in names), None)
    depth = next((names[name] for name in _DEPTH if name in names), None)
    if colour is None or depth is None:
        return []
    photos = {path.relative_to(colour).with_suffix(""): path for path in _images(colour)}
    maps = {path.relative_to(depth).with_suffix(""): path for path in _images(depth)}
    return [
        (
            "-".join(filter(None, (split, *key.parts))),
            split,
            key.parent.name,
            photos[key].relative_to(folder).as_posix() if key in photos else "",
            maps[key].relative_to(folder).as_posix() if key in maps else "",
        )
        for key in sorted({*photos, *maps})
    ]


# ---- shards ----------------------------------------------------------------------------------------------------


def _shards(folder: Path, shards: Sequence[Path]) -> Found:
    names = {split: [s.relative_to(folder).as_posix() for s in shards if _split(s) == split] for split in SPLITS}
    if not names["train"]:
        raise DataError(f"{folder}: no shard has 'train' in its name. Rename them, such as train-000000.tar.")
    if not names["val"]:
        if len(names["train"]) < 2:
            raise DataError(
                f"{folder}: one shard for training and none for validation. Cut it in two, or add val-*.tar."
            )
        names["val"] = [names["train"].pop()]
    endings, samples, label = _members(folder / names["train"][0])
    sensors = _sensors(endings)
    if not sensors:
        raise DataError(f"{folder / names['train'][0]}: none of its members is an image.")
    classes = next((name for name in ("classes.txt", "labels.txt") if (folder / name).is_file()), None)
    data: dict[str, Any] = {
        "name": "webdataset",
        "shards": {split: _pattern(found) for split, found in names.items() if found},
        "members": sensors,
    }
    if label:
        data["label"] = label
    if classes and label:
        data["classes"] = classes
    return Found(
        layout="webdataset",
        data=data,
        modalities=_modalities(sensors),
        train=samples * len(names["train"]),
        labelled=label is not None,
        splits=[split for split in SPLITS if names[split]],
    )


def _split(shard: Path) -> str:
    words = re.split(r"[^a-z]+", "/".join(shard.parts[-2:]).lower())
    return next(
        (split for split in reversed(SPLITS) if {split, {"val": "valid"}.get(split, split)} & {*words}), "train"
    )


def _members(shard: Path) -> tuple[list[str], int, str | None]:
    """Endings of image members, number of samples, and the member that is the label."""
    endings: dict[str, None] = {}
    keys: set[str] = set()
    label: str | None = None
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                stem, _, ending = member.name.rpartition("/")[2].partition(".")
                keys.add(stem)
                if f".{ending.rpartition('.')[2].lower()}" in IMAGES:
                    endings[ending.lower()] = None
                elif label is None:
                    label = _label(tar, member, ending)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{shard}: cannot be read as a tar file ({error}).") from error
    return list(endings), len(keys), label


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> str | None:
    if ending == "cls":
        return ending
    stream = tar.extractfile(member) if ending == "json" else None
    if stream is None:
        return None
    try:
        about = json.loads(stream.read())
    except ValueError:
        return None
    key = next((name for name in _LABEL if isinstance(about, dict) and name in about), None)
    return f"json:{key}" if key else None


def _pattern(names: Sequence[str]) -> str | list[str]:
    """One brace pattern for numbered shards, else the names."""
    if len(names) == 1:
        return names[0]
    numbers = [re.fullmatch(r"(.*?)(\d+)([^\d]*)", name) for name in names]
    parts = [(match[1], match[2], match[3]) for match in numbers if match]
    low, high = parts[0][1], parts[-1][1]
    alike = len({(before, len(digits), after) for before, digits, after in parts}) == 1
    if alike and len(parts) == len(names) == int(high) - int(low) + 1:
        return f"{parts[0][0]}{{{low}..{high}}}{parts[0][2]}"
    return list(names)
