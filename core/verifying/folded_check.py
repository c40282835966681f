"""Do a bundle's files with the preprocessing inside answer as the files that they were made from? Asked on pictures of folders.

They are what a program without edgefw uses. Each is shown pictures as they were decoded; the file that it was made from sees
the same ones through the bundle's preprocessing. It measures; what is enough, `edgefw.evaluation.folded_numbers` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.backend import session_threads
from edgefw.errors import BundleError, DataError
from edgefw.evaluation import predictions
from edgefw.evaluation.folded_numbers import folded_row, places
from edgefw.runtime.folded_file import answers, open_folded
from edgefw.runtime.image_formats import with_all_formats

if TYPE_CHECKING:
    from edgefw.contracts.modality import Modality
    from edgefw.labels.folders import LabelledFolder
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack
    from edgefw.runtime.manifest import ArtefactEntry
    from edgefw.runtime.opening import Opener
    from edgefw.verifying.shown import Candidates


@dataclass(frozen=True)
class Inside:
    """What was found out about the files with the preprocessing inside.

    Attributes:
        rows: of `folded_row`, or {name, why} of a file that fails.
        unjudged: {name, backend, precision, why} of those whose source's runtime is not here, or without a readable picture.
        notes: what is not judged, in words.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    unjudged: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FoldedCheck:
    """What is shown to the files, and what they are held against.

    Attributes:
        opener: of the bundle.
        bundle: opened.
        artefacts: the bundle's other files. Those that fail are told elsewhere, and nothing is held against them.
        pack: labels, or None.
        threads: CPU threads of each session; None: the artefact's own option.
    """

    opener: Opener
    bundle: Bundle
    artefacts: Candidates
    pack: LabelPack | None
    threads: int | None

    def judged(self, folders: Sequence[LabelledFolder]) -> Inside:
        """Every such file of the bundle, on the folder of its modality."""
        inside, by_role = Inside(), {folder.modality: folder for folder in folders}
        for entry in self.bundle.manifest.folded:
            source, folder = _source(entry, self.bundle), by_role.get(entry.modalities[0])
            if source is None:
                inside.notes.append(
                    f"{entry.name} is not judged: the bundle does not say which artefact it was made from"
                )
            elif source in self.artefacts.closed:
                inside.unjudged.append(_unjudged(entry, self.artefacts.closed[source]))
            elif source in self.artefacts.failed:
                continue
            elif source not in self.artefacts.runners:
                inside.notes.append(f"{entry.name} is not judged: {source}, which it was made from, was left out")
            elif folder is None:
                inside.notes.append(f"{entry.name} is not measured: give --data {entry.modalities[0]}=DIR too")
            else:
                self._judge(entry, source, folder, inside)
        return inside

    def _judge(self, entry: ArtefactEntry, source: str, folder: LabelledFolder, inside: Inside) -> None:
        said = {"name": entry.name, "source": source, "modality": entry.modalities[0], "precision": entry.precision}
        try:
            rows = self._answers(entry, source, folder)
        except DataError as error:
            inside.unjudged.append(_unjudged(entry, str(error)))
        except BundleError as error:
            inside.rows.append({"name": entry.name, "why": str(error)})
        else:
            inside.rows.append(folded_row(said, *rows, self._predicted(*rows[:2])))

    def _answers(
        self, entry: ArtefactEntry, source: str, folder: LabelledFolder
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        role, files = entry.modalities[0], [path for path, _ in folder.images()]
        ask = open_folded(self.bundle.file(entry), self.threads or session_threads(entry.options, None))
        pictures = _decoded([files[at] for at in places(len(files))], self.opener.modality(role))
        return answers(pictures, self.opener.preprocessing(role), ask, self.artefacts.runners[source])

    def _predicted(self, found: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        if self.pack is None:
            return None
        return predictions(self.pack.probabilities(found)), predictions(self.pack.probabilities(expected))


def _source(entry: ArtefactEntry, bundle: Bundle) -> str | None:
    """The artefact that a file was made from; an older edgefw said it in the file's name alone."""
    stated = entry.source or entry.name.removeprefix(f"folded-{entry.modalities[0]}-")
    sources = [other.name for other in bundle.manifest.artefacts if entry.modalities[0] in other.roles]
    return stated if stated in sources else None


def _unjudged(entry: ArtefactEntry, why: str) -> dict[str, Any]:
    return {"name": entry.name, "backend": entry.backend, "precision": entry.precision, "why": why}


def _decoded(files: Sequence[Path], modality: Modality) -> Iterator[np.ndarray]:
    """What can be read of them; what cannot is told where all images are shown to all artefacts."""
    for path in files:
        with suppress(OSError, DataError):
            data = path.read_bytes()
            yield with_all_formats(partial(modality.decode, data, str(path)))
