"""Does a bundle's file say the same of an image alone and in a batch? The kept images are shown both ways.

It needs the images and the file alone; where there are fewer than two images, nothing can be said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgefw.errors import BundleError
from edgefw.evaluation.comparison import relative_errors
from edgefw.runtime.asking import ask

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.runtime.manifest import ArtefactEntry
    from edgefw.verifying.sheets import Sheet


def batch_errors(
    entries: Mapping[str, ArtefactEntry], runners: Mapping[str, Runner], sheets: Sequence[Sheet]
) -> tuple[dict[str, float | None], dict[str, str]]:
    """By name, each artefact's largest error; and why, by name, of those that fail on the batch.

    Args:
        entries: artefacts to look at.
        runners: opened, by name.
        sheets: filled; a few prepared images are kept on each.
    """
    found: dict[str, float | None] = {}
    failed: dict[str, str] = {}
    for name, entry in entries.items():
        try:
            errors = [
                error for sheet in sheets if name in sheet.columns for error in _errors(entry, runners[name], sheet)
            ]
        except BundleError as error:
            failed[name] = str(error)
            errors = []
        found[name] = float(np.max(errors)) if errors else None
    return found, failed


def _errors(entry: ArtefactEntry, runner: Runner, sheet: Sheet) -> Iterator[float]:
    """Relative errors of each kept image alone, against the same one in the batch of all of them."""
    rows = list(sheet.alone(entry))
    if len(rows) > 1:
        whole = ask(runner, {key: np.concatenate([row[key] for row in rows]) for key in rows[0]})
        alone = np.concatenate([ask(runner, row) for row in rows])
        yield from relative_errors(alone, whole)
