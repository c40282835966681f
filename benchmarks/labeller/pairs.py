"""What the two benchmarks of the labeller share: the bundle's parts for `bare.py`, photographs, and timed processes in turn."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

import edgefw
from edgefw.environment import hardware
from edgefw.plugins.datasets.drawing.objects import OBJECTS
from edgefw.plugins.datasets.drawing.scene import draw_scene
from edgefw.runtime.bundle import Bundle

HERE = Path(__file__).resolve().parent
SCENES, SEED = 20, 778_000_001
STEPS = ["resize", "scale", "normalise"]


def write_parts(bundle: Bundle, artefact: str, modality: str, file: Path) -> Path:
    """Write what `bare.py` needs of a bundle: the ONNX file's place, the numbers of its preprocessing, the label vectors."""
    entry, pack = bundle.artefact(artefact), bundle.label_pack()
    steps = bundle.manifest.modalities[modality].preprocessing["steps"]
    resize, scale, normalise = steps if [step["name"] for step in steps] == STEPS else sys.exit(f"not {STEPS}: {steps}")
    if entry.backend != "onnxruntime" or (resize["filter"], resize["fit"]) != ("bicubic", "stretch"):
        sys.exit(f"{artefact}: bare.py runs ONNX files after a bicubic stretch.")
    if any(len(label.vectors) > 1 or label.bias or label.temperature != 1 for label in pack.labels):
        sys.exit("bare.py knows packs of one vector per label, without bias and temperature.")
    rows = np.concatenate([label.vectors for label in pack.labels])
    np.savez(
        file,
        model=str(bundle.file(entry).resolve()),
        size=resize["size"],
        divisor=np.float32(scale["divisor"]),
        mean=np.float32(normalise["mean"]),
        std=np.float32(normalise["std"]),
        vectors=rows / np.linalg.norm(rows, axis=1, keepdims=True),
        names=list(pack.names),
    )
    return file


def write_photographs(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """JPEG files of a size (width, height), cut from drawn scenes; taken as they are where all are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.iterdir())) == count:
        return folder
    scenes = [_scene(number) for number in range(min(SCENES, count))]
    noise = np.random.default_rng(SEED).normal(0, 4, (*scenes[0].shape[:2], 1))
    for number in range(count):
        scene, shift = scenes[number % len(scenes)], number // len(scenes) % 60
        view = np.clip(np.roll(noise, 31 * number, 0) + scene, 0, 255).astype(np.uint8)[shift : shift + 400, shift:]
        Image.fromarray(view).resize(size).save(folder / f"{number:05d}.jpg", quality=90)
    return folder


def _scene(number: int) -> np.ndarray:
    picture = draw_scene(np.random.default_rng(SEED + number), list(OBJECTS)[number % len(OBJECTS)], 320).rgb
    return np.asarray(Image.fromarray(picture).resize((600, 460)))


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A process: seconds to its first line and to its end, processor seconds, and what it said of each file."""

    first: float
    whole: float
    processor: float
    labels: Mapping[str, str]


def timed(command: Sequence[str]) -> Timed:
    """Run `python COMMAND` and listen to it; lines are "path TAB label"."""
    before, began = os.times(), time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    lines = [process.stdout.readline()]
    first = time.perf_counter() - began
    lines += process.stdout.readlines()
    said = process.stderr.read()
    if process.wait() != 0:
        sys.exit(f"{' '.join(command)}: {said}")
    whole, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    split = (line.rstrip("\n").split("\t") for line in lines)
    labels = {path: label.removeprefix("unknown: ") for path, label, *_ in split}
    return Timed(first=first, whole=whole, processor=used, labels=labels)


def in_turn(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Timed]]:
    """Run every command once a round, after one round that is not counted; the first one rotates."""
    names = list(commands)
    found: dict[str, list[Timed]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            result = timed(commands[name])
            if turn:
                found[name].append(result)
    said = [dict(results[0].labels) for results in found.values()]
    if any(one != said[0] for one in said):
        sys.exit("they do not say the same: not the same work was timed.")
    return found


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios of pairs that ran one after the other."""
    return round(statistics.median(a / b for a, b in zip(above, below, strict=True)), 3)


def machine() -> dict[str, Any]:
    """For the record: the processor, how many a process may use (`cores`), and the versions of what is timed."""
    versions = {"edgefw": edgefw.__version__, "onnxruntime": onnxruntime.__version__}
    return {**hardware(), "python": platform.python_version(), **versions}
