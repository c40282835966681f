"""Ask a bundle's files about the kept images, each alone and in batches: does a file say the same, and as its source?

It needs the images and the files alone; what the answers are worth, `bundle_numbers` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgefw.errors import BundleError
from edgefw.evaluation.batch_sizes import BESIDE, BothWays
from edgefw.runtime.asking import ask_both_ways

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.runtime.manifest import ArtefactEntry
    from edgefw.verifying.sheets import Sheet

Said = dict[str, dict[str, BothWays]]
"""By artefact and role."""


def both_ways(
    entries: Mapping[str, ArtefactEntry], runners: Mapping[str, Runner], sheets: Sequence[Sheet]
) -> tuple[Said, dict[str, str]]:
    """What each artefact says; and why, by name, of those that fail on the batch.

    Args:
        entries: artefacts to ask.
        runners: opened, by name.
        sheets: filled; some prepared images are kept on each.
    """
    said: Said = {}
    failed: dict[str, str] = {}
    for name, entry in entries.items():
        served = [sheet for sheet in sheets if name in sheet.columns]
        try:
            said[name] = {sheet.role: _asked(entry, runners[name], sheet) for sheet in served}
        except BundleError as error:
            failed[name] = str(error)
    return said, failed


def _asked(entry: ArtefactEntry, runner: Runner, sheet: Sheet) -> BothWays:
    alone, batch = ask_both_ways(runner, list(sheet.alone(entry)), BESIDE)
    return BothWays(alone=alone, batch=batch)
