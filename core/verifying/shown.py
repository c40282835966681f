"""Show folders of images to a bundle's files, and sort out those that fail on any, so that the others are judged.

A file that fails on the last image has already been compared with; so the folders are shown again to those that are
left. It says who can be judged, on which answers; what they are worth, `bundle_check` decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgefw.contracts.scheme import together
from edgefw.errors import BundleError
from edgefw.verifying.batch_check import Said, both_ways
from edgefw.verifying.sheets import Sheet, fill, folder_groups, reference_of

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.labels.folders import LabelledFolder
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack
    from edgefw.runtime.manifest import ArtefactEntry
    from edgefw.runtime.opening import Opener


@dataclass
class Candidates:
    """The files of a bundle: opened, closed for want of a runtime, and those that do not open or fail on images, with the reason."""

    bundle: Bundle
    runners: dict[str, Runner]
    closed: Mapping[str, str]
    failed: dict[str, str] = field(default_factory=dict)

    def drop(self, failed: Mapping[str, str]) -> bool:
        """Leave out those that failed; whether there were any."""
        self.failed |= failed
        self.runners = {name: runner for name, runner in self.runners.items() if name not in failed}
        return bool(failed)

    def judged(self) -> tuple[dict[str, ArtefactEntry], list[dict[str, Any]]]:
        """Entries that can be judged, and a row for each that cannot: no runtime, or nothing to hold it against.

        Raises:
            BundleError: if there is nothing to say of any.
        """
        every = {entry.name: entry for entry in self.bundle.manifest.artefacts}
        opened = {name: entry for name, entry in every.items() if name in self.runners}
        why = dict(self.closed)
        for name, entry in opened.items():
            alone = reference_of(entry, opened).name == name
            if alone and (wanted := reference_of(entry, every).name) != name:
                said = "does not run" if wanted in self.failed else "was not opened"
                why[name] = f"there is nothing to hold it against: its float file {wanted} {said}"
        judged = {name: entry for name, entry in opened.items() if name not in why}
        if not judged and not self.failed:
            reasons = "".join(f"\n  {name}: {text}" for name, text in why.items())
            raise BundleError(f"{self.bundle.source}: no artefact can be judged here.{reasons}")
        rows = [
            {"name": name, "backend": every[name].backend, "precision": every[name].precision, "why": why[name]}
            for name in every
            if name in why
        ]
        return judged, rows


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is left when no file fails.

    Attributes:
        entries: that are judged, by name.
        unjudged: rows of those that cannot be.
        sheets: what they said.
        said: of a few images, each alone and all in one batch, see `batch_check`.
        left_out: what cannot be measured, in words.
    """

    entries: dict[str, ArtefactEntry]
    unjudged: list[dict[str, Any]]
    sheets: list[Sheet]
    said: Said
    left_out: list[str]


def show_folders(
    opener: Opener, candidates: Candidates, folders: Sequence[LabelledFolder], pack: LabelPack | None, batch: int
) -> Shown:
    """Fill sheets until no file fails on an image, in a batch or alone; those that do are dropped from `candidates`.

    Raises:
        DataError: if a folder has no readable image.
        BundleError: if no artefact can be judged.
    """
    groups, left_out = folder_groups(folders, candidates.bundle)
    while True:
        entries, unjudged = candidates.judged()
        served = {role for entry in entries.values() for role in entry.roles}
        shown = [group for group in groups if together([folder.modality for folder in group]) in served]
        sheets = [fill(opener, group, entries, candidates.runners, pack, batch) for group in shown]
        if candidates.drop({name: why for sheet in sheets for name, why in sheet.failed.items()}):
            continue
        said, failed = both_ways(entries, candidates.runners, sheets)
        if not candidates.drop(failed):
            return Shown(entries=entries, unjudged=unjudged, sheets=sheets, said=said, left_out=left_out)
