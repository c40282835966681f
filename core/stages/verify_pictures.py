"""Pictures of the samples that the best artefact gets most wrong, for a person to look at.

It draws what the modality calls a picture of its values; it judges nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgefw.data.loading import read_image
from edgefw.stages.verify_models import STUDENT, TEACHER

if TYPE_CHECKING:
    from edgefw.stages.context import StageContext
    from edgefw.stages.held_out import HeldOut
    from edgefw.stages.verify_models import Gathered

_EACH = 8
_SIDE = 160
FOLDER = "pictures"


def disagreements(context: StageContext, held: HeldOut, gathered: Gathered, best: str | None) -> list[dict[str, Any]]:
    """Per modality, the samples where the artefact's best label is furthest from the right one (or the teacher's).

    Writes PNG files into `verify/pictures/`.
    """
    rows: list[dict[str, Any]] = []
    if held.text is None or best is None:
        return rows
    for name in context.pieces.modalities:
        answers = gathered.answers.get((best, name))
        if answers is None:
            continue
        wrong = np.flatnonzero(np.nan_to_num(answers.margin, nan=0.0) > 0)
        worst = wrong[np.argsort(-answers.margin[wrong], kind="stable")][:_EACH]
        rows += [_row(context, held, gathered, best, name, int(place)) for place in worst]
    return rows


def _row(
    context: StageContext, held: HeldOut, gathered: Gathered, best: str, modality: str, place: int
) -> dict[str, Any]:
    sample = held.samples[place]
    eye = context.pieces.teacher_modality
    said = {
        TEACHER: _said(held, gathered, (TEACHER, eye), place),
        STUDENT: _said(held, gathered, (STUDENT, modality), place),
        "artefact": _said(held, gathered, (best, modality), place),
    }
    label = int(held.labels[place])
    return {
        "id": sample.id,
        "modality": modality,
        "label": held.names[label] if label >= 0 else None,
        **said,
        "picture": _picture(context, sample, modality, place),
    }


def _said(held: HeldOut, gathered: Gathered, who: tuple[str, str], place: int) -> str | None:
    answers = gathered.answers.get(who)
    index = -1 if answers is None else int(answers.prediction[place])
    return held.names[index] if index >= 0 else None


def _picture(context: StageContext, sample: Any, modality: str, place: int) -> str:
    sensor = context.pieces.modalities[modality]
    image = Image.fromarray(sensor.picture(read_image(sample, modality, sensor)))
    image.thumbnail((_SIDE, _SIDE))
    folder = context.folder.stage("verify") / FOLDER
    folder.mkdir(exist_ok=True)
    image.save(folder / f"{place}-{modality}.png")
    return f"verify/{FOLDER}/{place}-{modality}.png"
