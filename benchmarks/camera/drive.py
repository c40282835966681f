"""Draw a video with known events: a drive past things, in which some stretches show one class again and again.

A stretch of five seconds shows ten different scenes, half a second each, of one class in an event and of mixed other classes
between events. Scenes are those of the data set `sample`, from a seed that no split of it has; each is shown with a slow pan and
the noise of a cheap sensor, enlarged to the size of the video.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from edgefw.plugins.datasets.drawing.objects import OBJECTS
from edgefw.plugins.datasets.drawing.scene import draw_scene

RATE, SHOWN, SCENES = 10, 5, 10
"""Frames a second, frames per scene, scenes per stretch."""
SEED = 777_000_001


@dataclass(frozen=True)
class Event:
    """A stretch of one class that is asked for, in seconds."""

    label: str
    begin: float
    end: float


def draw_drive(path: Path, asked: list[str], stretches: int, size: tuple[int, int]) -> list[Event]:
    """Write the video and `events.json` beside it; every third stretch is an event.

    Args:
        path: an .avi file.
        asked: classes that events show, in turn.
        stretches: five seconds each.
        size: width and height in pixels.
    """
    others, choice = [name for name in OBJECTS if name not in asked], random.Random(SEED)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, size)
    events, number = [], 0
    for stretch in range(stretches):
        label = asked[stretch // 3 % len(asked)] if stretch % 3 == 1 else None
        length = SHOWN * SCENES / RATE
        if label is not None:
            events.append(Event(label, stretch * length, (stretch + 1) * length))
        for _ in range(SCENES):
            for frame in _shown(label or choice.choice(others), number, size):
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            number += 1
    writer.release()
    path.with_name("events.json").write_text(json.dumps([asdict(event) for event in events], indent=1) + "\n")
    return events


def _shown(name: str, number: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The frames of one scene: a window of it that moves, with noise of its own in each."""
    draw = np.random.default_rng([SEED, number])
    scene = draw_scene(draw, name, 72).rgb
    across, down = draw.integers(0, 9, (2, 2))
    for step in range(SHOWN):
        at = np.round(across + (down - across) * step / SHOWN).astype(int)
        window = scene[at[0] : at[0] + 64, at[1] : at[1] + 64].astype(np.float64)
        noisy = np.clip(window + draw.normal(0, 3, window.shape), 0, 255).astype(np.uint8)
        yield cv2.resize(noisy, size, interpolation=cv2.INTER_CUBIC)
