"""Draws the scenes of a split into one WebDataset shard.

Members are `KEY.depth.png` (16-bit mm), `KEY.json`, `KEY.rgb.png` and `KEY.thermal.png` (16-bit centi-kelvin), as asked.

A scene is a pure function of (seed, split, index), so a shard is the same whoever draws it, in one process or several.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image

from edgefw.plugins.datasets.drawing.objects import OBJECTS
from edgefw.plugins.datasets.drawing.scene import Scene, draw_scene

PARALLEL_FROM = 400
"""Below so many scenes, starting processes costs more than it saves."""


@dataclass(frozen=True)
class ShardPlan:
    """What a shard shows: `count` scenes of `size` pixels from `seed`, for the split numbered `split`, by `sensors`."""

    seed: int
    split: int
    count: int
    size: int
    sensors: tuple[str, ...] = ("rgb", "depth")


_HEAT = 1
"""Fourth number of the seed of a scene's thermal image."""

Members = list[tuple[str, bytes]]


def scene_members(plan: ShardPlan, index: int) -> Members:
    """File names and contents of one scene; classes take turns, so that every split is balanced."""
    name = list(OBJECTS)[index % len(OBJECTS)]
    numbers = [plan.seed, plan.split, index]
    heat = np.random.default_rng([*numbers, _HEAT]) if "thermal" in plan.sensors else None
    scene = draw_scene(np.random.default_rng(numbers), name, plan.size, heat)
    key = f"{index:06d}"
    about = json.dumps({"label": name, "caption": scene.caption}).encode()
    images = [(f"{key}.{sensor}.png", _png(_stored(scene, sensor))) for sensor in plan.sensors]
    return sorted([(f"{key}.json", about), *images])


def _stored(scene: Scene, sensor: str) -> np.ndarray:
    """What a sensor's file holds: colours, millimetres, hundredths of a kelvin."""
    if sensor == "rgb":
        return scene.rgb
    step, values = (1000, scene.depth) if sensor == "depth" else (100, scene.thermal)
    return np.clip(np.round(values * step), 0, 65535).astype(np.uint16)  # type: ignore[operator]


def write_shard(plan: ShardPlan, target: Path) -> None:
    """Draw every scene of the plan into `target`; the file appears whole or not at all."""
    part = target.with_suffix(f".part{os.getpid()}")
    with tarfile.open(part, "w") as tar:
        for members in _all_scenes(plan):
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    part.replace(target)


def _all_scenes(plan: ShardPlan) -> Iterator[Members]:
    workers = min(4, os.cpu_count() or 1)
    if plan.count < PARALLEL_FROM or workers == 1:
        yield from map(scene_members, repeat(plan), range(plan.count))
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(scene_members, repeat(plan), range(plan.count), chunksize=50)


def _png(image: np.ndarray) -> bytes:
    """Stored, not deflated: sensor noise hardly shrinks, and every epoch reads the file again."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()
