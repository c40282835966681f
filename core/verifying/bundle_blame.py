"""Which layer of a bundle's file first departs from the float file that it was made from? Asked of the files that failed.

A bundle has no network to compile afresh, so the file that an answer was held against is the source; it must be of the same
backend, which shows its layers (`LayerShower`). Both see the first images of the folders, already prepared. Where every file of a sensor
answers drawn images otherwise than it was measured, no layer is to blame, but what stands before all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.backend import LayerShower
from edgefw.errors import EdgefwError
from edgefw.evaluation.budget import ANSWERS, wrong
from edgefw.runtime.departure import UNSEEN, blame_row
from edgefw.verifying.reference_check import ANSWER
from edgefw.verifying.sheets import Sheet, feeds, held_against

if TYPE_CHECKING:
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.manifest import ArtefactEntry
    from edgefw.runtime.opening import Opener

UNSOURCED = (
    "the bundle holds no file of its backend that its layers could be held against; "
    "`edgefw verify RUN` holds them against the trained network"
)
OUTSIDE = (
    "outside the graph: every file that takes these images answers otherwise than it was measured; "
    "look at the preprocessing in manifest.json"
)
_SHOWN, _EACH = 8, 3
"""Images altogether, and of each sensor at the least."""


def blame(
    opener: Opener,
    bundle: Bundle,
    entries: Mapping[str, ArtefactEntry],
    sheets: Sequence[Sheet],
    budget: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """For each artefact whose answers are wrong {artefact, limit, first, layers}, or {artefact, absent: why there is nothing to see}.

    Args:
        opener: of the bundle.
        bundle: opened.
        entries: that were judged, by name.
        sheets: what they were shown.
        budget: its rows; what they found wrong is looked into.
    """
    names = wrong(budget, {*ANSWERS, ANSWER})
    asked = [entry for name, entry in entries.items() if name in names and _seen_by(entry, sheets)]
    return [
        {"artefact": entry.name, "absent": OUTSIDE}
        if _together(entry, entries, budget)
        else _row(opener, bundle, entry, held_against(entry, entries), sheets)
        for entry in asked
    ]


def _together(entry: ArtefactEntry, entries: Mapping[str, ArtefactEntry], budget: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an artefact and every other one of its sensors, at least one, answer otherwise than they were measured."""
    answered = {row["artefact"]: bool(row["ok"]) for row in budget if row["check"] == ANSWER}
    sensors = set(entry.modalities)
    alike = [name for name, other in entries.items() if name in answered and sensors & set(other.modalities)]
    return len(alike) > 1 and entry.name in alike and not any(answered[name] for name in alike)


def _row(
    opener: Opener, bundle: Bundle, entry: ArtefactEntry, source: ArtefactEntry, sheets: Sequence[Sheet]
) -> dict[str, Any]:
    try:
        backend = opener.backend(entry)
        if not isinstance(backend, LayerShower):
            return {"artefact": entry.name, "absent": UNSEEN}
        if source.name == entry.name or source.backend != entry.backend:
            return {"artefact": entry.name, "absent": UNSOURCED}
        other = opener.backend(source)
        if not isinstance(other, LayerShower):
            return {"artefact": entry.name, "absent": UNSOURCED}
        shown = _images(entry, _seen_by(entry, sheets))
        views = [other.layers(bundle.file(source), shown), backend.layers(bundle.file(entry), shown)]
        return blame_row(entry.name, entry.precision, *views)
    except EdgefwError as error:
        return {"artefact": entry.name, "absent": str(error)}


def _seen_by(entry: ArtefactEntry, sheets: Sequence[Sheet]) -> list[Sheet]:
    return [sheet for sheet in sheets if entry.name in sheet.columns and sheet.inputs]


def _images(entry: ArtefactEntry, sheets: Sequence[Sheet]) -> dict[str, np.ndarray]:
    """(B, C, H, W) by the artefact's inputs; of one input, some images of every sensor that it serves."""
    if len(entry.inputs) > 1:
        return feeds(entry, {name: np.stack(images[:_SHOWN]) for name, images in sheets[0].inputs.items()})
    kept = [next(iter(sheet.inputs.values())) for sheet in sheets]
    each = max(_EACH, _SHOWN // len(kept))
    return feeds(entry, {entry.roles[0]: np.stack([image for images in kept for image in images[:each]])})
