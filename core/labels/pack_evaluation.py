"""How well a label pack names the images of labelled folders, with the base installation. It measures one artefact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.errors import DataError
from edgefw.evaluation import balanced_top1, per_class_accuracy, top1
from edgefw.runtime.labelling import Encoder, Unreadable, label_images
from edgefw.runtime.opening import Opener, single_input

if TYPE_CHECKING:
    from edgefw.labels.folders import LabelledFolder
    from edgefw.registry.loading import Registry
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack


def evaluate_pack(
    bundle: Bundle,
    folder: LabelledFolder,
    pack: LabelPack,
    artefact: str | None = None,
    registry: Registry | None = None,
) -> dict[str, Any]:
    """Top-1, balanced top-1, share of images with a label said, share of those right, recall per label.

    Raises:
        DataError: if no image can be read, or none lies in a folder named after a label.
    """
    opener, entry = Opener(bundle, registry), bundle.artefact(artefact, folder.modality)
    encoder = Encoder(
        runner=opener.runner(entry),
        input=single_input(entry),
        modality=opener.modality(folder.modality),
        preprocessing=opener.preprocessing(folder.modality),
    )
    truth = {path: label for path, label in folder.images() if label >= 0}
    if not truth:
        named = ", ".join(pack.names[:5])
        raise DataError(f"{folder.folder}: no image lies in a folder named after a label ({named}, ...).")
    index = {name: number for number, name in enumerate(pack.names)}
    found = list(label_images(encoder, pack, truth))
    read = [item for item in found if not isinstance(item, Unreadable)]
    if not read:
        raise DataError(f"{folder.folder}: none of {len(found)} images can be read.")
    labels = np.array([truth[item.path] for item in read])
    predicted = np.array([index[item.ranking[0][0]] for item in read])
    said = np.array([item.label is not None for item in read])
    recall = per_class_accuracy(predicted, labels, len(index))
    return {
        "artefact": entry.name,
        "modality": folder.modality,
        "n": len(read),
        "unreadable": len(found) - len(read),
        "top1": top1(predicted, labels),
        "balanced_top1": balanced_top1(predicted, labels),
        "said": float(said.mean()),
        "precision": float((predicted == labels)[said].mean()) if said.any() else 0.0,
        "recall": {name: float(value) for name, value in zip(pack.names, recall) if not np.isnan(value)},
    }
