"""Images of a folder that show several labels each, as a label pack sees them: which label is in which image.

The table (edgefw.labels.label_sets) says it by names; here its rows are those of one folder, its columns the labels of
one pack. Names that the pack lacks are left out and listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefw.errors import DataError
from edgefw.labels.examples import embed_files
from edgefw.labels.folders import plain_name
from edgefw.labels.label_sets import read_label_sets

if TYPE_CHECKING:
    from edgefw.labels.folders import LabelledFolder
    from edgefw.registry.loading import Registry
    from edgefw.runtime.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class ShownLabels:
    """What the images of a folder show.

    Attributes:
        folder: where they lie.
        present: image -> (K,) bool, in the order of the pack; all False where an image shows none of its labels.
        not_in_pack: plain names of the table that the pack lacks, sorted.
    """

    folder: LabelledFolder
    present: Mapping[Path, np.ndarray]
    not_in_pack: list[str]


def shown_labels(folder: LabelledFolder, file: Path) -> ShownLabels:
    """The rows of the table `file` whose images lie below the folder.

    Raises:
        DataError: if the table cannot be read, or names no image of the folder or no label of the pack.
    """
    place, sets = folder.folder.resolve(), read_label_sets(file)
    below = {path: names for path, names in sets.items() if path.resolve().is_relative_to(place)}
    if not below:
        raise DataError(f"{file}: names no image below {folder.folder}; its first one is {next(iter(sets))}.")
    plain, named = [plain_name(name) for name in folder.names], set[str]().union(*below.values())
    if not named & set(plain):
        raise DataError(f"{file}: holds none of the pack's labels ({', '.join(folder.names[:5])}, ...).")
    present = {path: np.array([name in names for name in plain]) for path, names in below.items()}
    return ShownLabels(folder=folder, present=present, not_in_pack=sorted(named - set(plain)))


def embed_shown(
    bundle: Bundle, shown: ShownLabels, artefact: str | None = None, registry: Registry | None = None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Of the images that can be read: embeddings (N, D) float64 of length 1, labels (N, K) bool; and how many cannot.

    Raises:
        DataError: if no image can be read, or the artefact gives what is no number.
    """
    files = list(shown.present)
    paths, embeddings, unreadable = embed_files(bundle, shown.folder.modality, files, artefact, registry)
    if not paths:
        raise DataError(f"{shown.folder.folder}: none of {unreadable} images can be read.")
    return embeddings, np.stack([shown.present[path] for path in paths]), unreadable
