"""The conformance kit on modalities, data sets, views and samplers: what strangers must keep, we keep."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgefw.contracts.dataset import SPLITS
from edgefw.testing.parametrize import Check, make_checks

FRESH_INTERPRETER = {"import_has_no_side_effects", "imports_no_torch"}
RNG = np.random.default_rng(1)


def photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)


def depth_map(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(500, 5000, (20, 20)).astype(np.uint16)).save(path)


def folder(root: Path) -> dict[str, Any]:
    for split in SPLITS:
        for number in range(4):
            photograph(root / "photos" / split / "ab"[number % 2] / f"{number}.png")
    return {"root": "photos"}


def table(root: Path) -> dict[str, Any]:
    rows = ["id,split,label,caption,rgb,depth"]
    for number in range(12):
        photograph(root / f"{number}.png")
        depth_map(root / f"{number}.depth.png")
        rows.append(f"{number},{SPLITS[number % 3]},{'ab'[number % 2]},a scene,{number}.png,{number}.depth.png")
    (root / "scenes.csv").write_text("\n".join(rows))
    return {"file": "scenes.csv"}


def shards(root: Path) -> dict[str, Any]:
    for split in SPLITS:
        with tarfile.open(root / f"{split}.tar", "w") as tar:
            for number in range(4):
                for ending, draw in (("png", photograph), ("depth.png", depth_map)):
                    draw(root / "files" / f"{number}.{ending}")
                    tar.add(root / "files" / f"{number}.{ending}", f"{number}.{ending}")
    return {
        "shards": {split: f"{split}.tar" for split in SPLITS},
        "members": {"rgb": "png", "depth": "depth.png"},
    }


PIECES: list[tuple[str, str, dict[str, Any] | Callable[[Path], dict[str, Any]] | None]] = [
    ("modality", "rgb", None),
    ("modality", "depth", None),
    ("modality", "depth", {"encoding": "jet", "near": 0.3, "far": 6.0}),
    ("dataset", "folder", folder),
    ("dataset", "csv", table),
    ("dataset", "webdataset", shards),
    ("view", "none", None),
    ("view", "crop-flip", None),
    ("sampler", "shuffle", None),
    ("sampler", "class-balanced", None),
]


def parameters() -> list[Any]:
    found = []
    for kind, name, options in PIECES:
        for check in make_checks(kind, name, options):
            marks = [pytest.mark.slow] if check.name in FRESH_INTERPRETER else []
            found.append(pytest.param(check, id=f"{kind}-{name}-{check.name}", marks=marks))
    return found


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Tag data larger than file")
@pytest.mark.parametrize("check", parameters())
def test_the_promise_holds(check: Check) -> None:
    check()
