"""How well a label pack ranks images that show several labels each: the ROC AUC of every label against the rest.

The score of a label is the cosine of image and text; its AUC is the chance that an image that shows it scores higher than
one that does not. It measures one artefact, with the base installation; it changes no pack.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.evaluation import auc_of_present
from edgefw.labels.shown_labels import embed_shown, shown_labels

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
    shown = shown_labels(folder, file)
    embeddings, present, unreadable = embed_shown(bundle, shown, artefact, registry)
    values = auc_of_present(pack.cosines(embeddings.astype(np.float32)), present)
    return {
        "artefact": bundle.artefact(artefact, folder.modality).name,
        "modality": folder.modality,
        "n": len(present),
        "unreadable": unreadable,
        "macro_auc": float(np.nanmean(values)) if not np.isnan(values).all() else None,
        "auc": _by_name(pack.names, values),
        "images": {name: int(count) for name, count in zip(pack.names, present.sum(axis=0))},
        "not_in_pack": shown.not_in_pack,
    }


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, values)}
