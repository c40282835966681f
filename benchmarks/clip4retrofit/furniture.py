"""The samples of furniture-rgbd one by one, with what its renderer knew of the object: class, 3D model, box."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEMBERS = {"rgb": "jpg", "depth": "depth.png"}
"""Ending of a sensor's file in a shard."""


@dataclass(frozen=True)
class Sample:
    """One view: the bytes of an image, and what is known of its object."""

    key: str
    data: bytes
    label: str
    model: str
    box: tuple[int, int, int, int]


def samples(data: Path, split: str, modality: str) -> Iterator[Sample]:
    """The samples of a split, shard by shard, names sorted within.

    Raises:
        SystemExit: if there is no shard of that split.
    """
    shards = sorted(data.glob(f"{split}-*.tar"))
    if not shards:
        raise SystemExit(f"{data}: no shard {split}-*.tar here.")
    for shard in shards:
        with tarfile.open(shard) as archive:
            for name in sorted(entry for entry in archive.getnames() if entry.endswith(".json")):
                key, about = name.removesuffix(".json"), json.loads(_member(archive, name))
                image = _member(archive, f"{key}.{MEMBERS[modality]}")
                yield Sample(key, image, about["class"], about["model_id"], tuple(about["bbox_xyxy"]))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise SystemExit(f"{archive.name}: {name} is no file.")
    return file.read()
