"""How well a label pack ranks images that show several labels each: the ROC AUC of every label against the rest.

The score of a label is the cosine of image and text; its AUC is the chance that an image that shows it scores higher than
one that does not. It measures one artefact, with the base installation; it changes no pack.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.errors import DataError
from edgefw.evaluation import auc_of_present
from edgefw.labels.examples import embed_files
from edgefw.labels.folders import plain_name
from edgefw.labels.label_sets import read_label_sets

if TYPE_CHECKING:
    from edgefw.labels.folders import LabelledFolder
    from edgefw.registry.loading import Registry
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack


def evaluate_label_sets(
    bundle: Bundle,
    folder: LabelledFolder,
    file: Path,
    pack: LabelPack,
    artefact: str | None = None,
    registry: Registry | None = None,
) -> dict[str, Any]:
    """AUC of every label of the pack on the images of a folder that the table names, and their mean.

    Labels of the table that the pack lacks are left out and listed; a label that all images show, or none, has no AUC.

    Raises:
        DataError: if the table names no image of the folder or no label of the pack, or no image can be read.
    """
    sets = _below(read_label_sets(file), folder, file)
    plain = [plain_name(name) for name in pack.names]
    named = set[str]().union(*sets.values())
    if not named & set(plain):
        raise DataError(f"{file}: holds none of the pack's labels ({', '.join(pack.names[:5])}, ...).")
    paths, embeddings, unreadable = embed_files(bundle, folder.modality, list(sets), artefact, registry)
    if not paths:
        raise DataError(f"{folder.folder}: none of {unreadable} images can be read.")
    present = np.array([[name in sets[path] for name in plain] for path in paths])
    values = auc_of_present(pack.cosines(embeddings.astype(np.float32)), present)
    return {
        "artefact": bundle.artefact(artefact, folder.modality).name,
        "modality": folder.modality,
        "n": len(paths),
        "unreadable": unreadable,
        "macro_auc": float(np.nanmean(values)) if not np.isnan(values).all() else None,
        "auc": _by_name(pack.names, values),
        "images": {name: int(count) for name, count in zip(pack.names, present.sum(axis=0))},
        "not_in_pack": sorted(named - set(plain)),
    }


def _below(sets: dict[Path, frozenset[str]], folder: LabelledFolder, file: Path) -> dict[Path, frozenset[str]]:
    place = folder.folder.resolve()
    found = {path: names for path, names in sets.items() if path.resolve().is_relative_to(place)}
    if not found:
        raise DataError(f"{file}: names no image below {folder.folder}; its first one is {next(iter(sets))}.")
    return found


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, values)}
