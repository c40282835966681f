"""The photographs of the CIFAR-10 shards one by one, with their class names."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

SHARDS = {"train": "train-000006.tar", "taught": "train-000000.tar", "test": "test-*.tar"}
"""Labelled examples come from a shard that `benchmarks/photos` neither trains on nor selects with; "taught" is one that it trains on, as int8.yaml of `benchmarks/backends` does."""


def samples(data: Path, split: str) -> Iterator[tuple[str, bytes, str]]:
    """Key, JPEG and class name of every photograph of a split.

    Raises:
        SystemExit: if there is no shard of that split.
    """
    shards = sorted(data.glob(SHARDS[split]))
    if not shards:
        raise SystemExit(f"{data}: no shard {SHARDS[split]} here.")
    names = (data / "classes.txt").read_text(encoding="utf-8").split()
    for shard in shards:
        with tarfile.open(shard) as archive:
            members = {entry.name: entry for entry in archive if entry.isfile()}
            for name in sorted(entry for entry in members if entry.endswith(".jpg")):
                key = name.removesuffix(".jpg")
                label = int(_read(archive, members[f"{key}.cls"]))
                yield key, _read(archive, members[name]), names[label]


def _read(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry)
    assert file is not None
    return file.read()
