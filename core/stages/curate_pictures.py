"""Pictures of what curation kept and left out, a few of each label, for a person to look at.

    kept        the surest samples of the label that are kept
    left out    the surest ones that are not: where the line was drawn

It draws the teacher's modality, writes small JPEG files, and judges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgefw.data.loading import read_image
from edgefw.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from edgefw.contracts.dataset import Sample
    from edgefw.contracts.modality import Modality
    from edgefw.stages.kept import Kept

FOLDER = "pictures"
KEPT, LEFT_OUT = 3, 2
"""Pictures of one label, at most."""
MOST_LABELS = 60
"""So many labels get pictures, the commonest first."""
_SIDE = 96


def shown(rows: Kept, labels: int) -> dict[int, list[int]]:
    """Label -> rows to show: the surest kept ones, then the surest left-out ones; the commonest labels only."""
    counts = np.bincount(rows.label[rows.label >= 0], minlength=labels)
    common = [int(label) for label in np.argsort(-counts, kind="stable")[:MOST_LABELS] if counts[label]]
    return {label: [*_surest(rows, label, True)[:KEPT], *_surest(rows, label, False)[:LEFT_OUT]] for label in common}


def write_pictures(
    folder: Path, rows: Kept, labels: int, samples: Sequence[Sample], name: str, sensor: Modality
) -> dict[int, list[dict[str, Any]]]:
    """Draw the samples that `shown` chooses into `pictures/` of the stage's folder.

    Args:
        folder: where the stage writes.
        rows: one per sample, in the samples' order.
        labels: how many labels the superset has.
        samples: the training samples.
        name: the modality that the teacher sees.
        sensor: that modality.

    Returns:
        Label -> `id`, `kept`, `confidence` and `picture` of each; a sample that cannot be drawn has no picture.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    return {
        label: [_record(folder, rows, row, samples[row], name, sensor) for row in chosen]
        for label, chosen in shown(rows, labels).items()
    }


def _surest(rows: Kept, label: int, kept: bool) -> list[int]:
    mine = np.flatnonzero((rows.label == label) & (rows.kept == kept))
    return [int(row) for row in mine[np.argsort(-rows.confidence[mine], kind="stable")]]


def _record(folder: Path, rows: Kept, row: int, sample: Sample, name: str, sensor: Modality) -> dict[str, Any]:
    return {
        "id": sample.id,
        "kept": bool(rows.kept[row]),
        "confidence": float(rows.confidence[row]),
        "picture": _picture(folder, row, sample, name, sensor),
    }


def _picture(folder: Path, row: int, sample: Sample, name: str, sensor: Modality) -> str | None:
    try:
        values = read_image(sample, name, sensor)
    except DataError:
        return None
    image = Image.fromarray(sensor.picture(values))
    image.thumbnail((_SIDE, _SIDE))
    image.save(folder / FOLDER / f"{row}.jpg", quality=80)
    return f"curate/{FOLDER}/{row}.jpg"
