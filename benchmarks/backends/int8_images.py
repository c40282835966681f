"""The photographs of the int8 table, prepared as a run's bundle says, and which of them a file names rightly."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clip4retrofit"))
from cifar import samples

from edgefw.contracts.backend import Runner
from edgefw.evaluation import predictions
from edgefw.runtime.bundle import Bundle
from edgefw.runtime.label_pack import LabelPack
from edgefw.runtime.opening import Opener

BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Photographs of one student's size.

    Attributes:
        calibration: (N, 3, H, W) float32, that ranges are measured on.
        shown: (M, 3, H, W) float32, that answers are judged on.
        labels: (M,) place of the right label in the pack.
        pack: the run's own, whose texts its teacher embedded.
    """

    calibration: np.ndarray
    shown: np.ndarray
    labels: np.ndarray
    pack: LabelPack


def pictures(bundle: Bundle, data: Path, calibration: int, shown: int) -> Pictures:
    """Evenly spaced photographs: of a shard that the students were trained on, and of the test shards.

    Args:
        bundle: of a student.
        data: holds cifar10.
        calibration: photographs to calibrate on.
        shown: photographs to judge on.
    """
    prepare, pack = Opener(bundle).preprocessing("rgb"), bundle.label_pack()
    taught = _spread(list(samples(data / "cifar10", "taught")), calibration)
    tested = _spread(list(samples(data / "cifar10", "test")), shown)
    places = {name: place for place, name in enumerate(pack.names)}
    return Pictures(
        calibration=np.stack([prepare(_pixels(image)) for _, image, _ in taught]),
        shown=np.stack([prepare(_pixels(image)) for _, image, _ in tested]),
        labels=np.array([places[name] for _, _, name in tested]),
        pack=pack,
    )


def right(runner: Runner, found: Pictures) -> np.ndarray:
    """(M,) bool: whether a file gives the photograph's own label the largest cosine. An answer that is not finite is wrong."""
    (name,) = runner.inputs
    parts = [found.shown[at : at + BATCH] for at in range(0, len(found.shown), BATCH)]
    said = np.concatenate([predictions(found.pack.cosines(runner.run({name: part}))) for part in parts])
    answers: np.ndarray = said == found.labels
    return answers


def _spread(rows: Sequence[Any], count: int) -> list[Any]:
    places = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))
    return [rows[place] for place in places]


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
