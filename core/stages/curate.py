"""Curation: keep the training samples that the teacher is sure of, and remember what it takes them for.

    confidence(x) = max_k softmax_k(s cos(Phi_img(x), Phi_text(y_k)))      pseudo-label(x) = argmax_k

over a label superset y_1..y_K that need not be the evaluation's labels; s is the teacher's logit scale. Source: Cai et
al., EdgeVL, ECCV 2024, arXiv:2403.04908, section 3.2. As in its released code (and unlike its text) `keep` is the kept
fraction, and cosines are scaled before the softmax; `threshold` is the text's rule. `per_label` keeps the fraction of each
pseudo-label's samples, so that a name of which the teacher is never sure is not left without any: the choice of
class-balanced self-training (Zou et al., ECCV 2018, arXiv:1810.07911). Without a `curate` section every
sample is kept, without a pseudo-label. Teacher answers are stored in the run's cache, so another fraction costs nothing.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.data.listing import Chosen
from edgefw.data.student_input import check_student_input
from edgefw.errors import DataError, EdgefwWarning
from edgefw.labels.names import read_label_names, unique_names
from edgefw.stages.curate_pictures import write_pictures
from edgefw.stages.fingerprints import data_state, piece
from edgefw.stages.kept import Kept, write_kept
from edgefw.stages.near_duplicates import HELD_OUT, look_for_near_duplicates
from edgefw.stages.teacher_answers import teacher_embeddings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefw.contracts.dataset import Listing
    from edgefw.recipe.schema import Curate
    from edgefw.stages.context import StageContext

_EXAMPLES = 5
_SKIPS = 100
"""So many skipped samples are listed; all are counted."""


def fingerprint(context: StageContext) -> dict[str, Any]:
    """Data, teacher, the modality it sees, and the section's own keys with the contents of the label file."""
    composition, base = context.composition, context.recipe.base
    curate = context.recipe.config.curate
    inputs: dict[str, Any] = {
        "data": data_state(context.pieces.dataset, "train"),
        "modalities": {name: piece(chosen, base) for name, chosen in composition.modalities.items()},
    }
    if curate is not None:
        inputs["curate"] = keys_of(curate)
        inputs["labels"] = read_label_names(curate.labels, base, "curate.labels")
        inputs["teacher"] = piece(composition.teacher, base)
    if curate is not None and curate.near_duplicates is not None:
        inputs["held_out"] = {split: data_state(context.pieces.dataset, split) for split in HELD_OUT}
    return inputs


def keys_of(curate: Curate) -> dict[str, Any]:
    """The section as an input of the stage; without `per_label`, which came later, where it is off: runs made before go on."""
    return curate.model_dump(mode="json", exclude=None if curate.per_label else {"per_label"})


def run(context: StageContext) -> dict[str, Any]:
    """Score, keep, label; writes `kept.parquet`. Processes share the teacher's work, the first one writes."""
    curate = context.recipe.config.curate
    pieces = context.pieces
    check_student_input(pieces.modalities, pieces.student_spec.input, context.composition.phases[-1].scheme)
    listing = context.pieces.listing("train")
    _tell_skipped(context, listing)
    visible = np.array([context.pieces.teacher_modality in sample.images for sample in listing.samples])
    if not visible.any():
        raise DataError(
            f"data: no training sample has an image of '{context.pieces.teacher_modality}' for the teacher to look at."
        )
    labels = superset(curate, context) if curate else []
    rows = _scored(curate, labels, listing, visible, context) if curate else _unscored(listing, visible)
    if not context.processes.is_main:
        return {}
    write_kept(context.folder.stage("curate"), rows)
    result = _result(curate, labels, rows, listing, visible) | {"near_duplicates": None}
    if curate is not None and curate.near_duplicates is not None:
        kept = Chosen(listing.samples, np.flatnonzero(rows.kept))
        result["near_duplicates"] = look_for_near_duplicates(context, kept, curate.near_duplicates)
    if curate is not None:
        _add_pictures(context, listing, rows, result["per_label"])
    return result


def _add_pictures(context: StageContext, listing: Listing, rows: Kept, per_label: list[dict[str, Any]]) -> None:
    name = context.pieces.teacher_modality
    sensor, folder = context.pieces.modalities[name], context.folder.stage("curate")
    pictures = write_pictures(folder, rows, len(per_label), listing.samples, name, sensor)
    for index, row in enumerate(per_label):
        row["pictures"] = pictures.get(index, [])


def superset(curate: Curate, context: StageContext) -> list[str]:
    """The label superset without repetitions, which are reported once."""
    names, repeated = unique_names(read_label_names(curate.labels, context.recipe.base, "curate.labels"))
    if repeated and context.processes.is_main:
        warnings.warn(
            f"curate.labels: listed more than once: {', '.join(repeated)}. Two entries of one name share its "
            "probability, so its samples would score about 0.5 at most and hardly ever be kept. One of each is used.",
            EdgefwWarning,
            stacklevel=2,
        )
    return names


def confidences(images: np.ndarray, texts: np.ndarray, logit_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Confidence (N,) float64 and pseudo-label (N,) int64 of unit embeddings (N, D) against unit texts (K, D)."""
    logits = logit_scale * (images.astype(np.float64) @ texts.astype(np.float64).T)  # (N, K)
    logits -= logits.max(axis=1, keepdims=True)
    probability = np.exp(logits)
    probability /= probability.sum(axis=1, keepdims=True)
    return probability.max(axis=1), probability.argmax(axis=1).astype(np.int64)


def choose(confidence: np.ndarray, keep: float, threshold: float | None) -> np.ndarray:
    """Which of N samples are kept, (N,) bool: the surest fraction (rounded up), or all above the threshold."""
    if threshold is not None:
        return confidence > threshold
    count = max(1, math.ceil(keep * len(confidence) - 1e-9))
    kept = np.zeros(len(confidence), dtype=bool)
    kept[np.argsort(-confidence, kind="stable")[:count]] = True
    return kept


def choose_of_each(confidence: np.ndarray, label: np.ndarray, keep: float) -> np.ndarray:
    """Which of N samples are kept, (N,) bool: the surest fraction (rounded up) of each pseudo-label's samples."""
    kept = np.zeros(len(confidence), dtype=bool)
    for one in np.unique(label):
        mine = np.flatnonzero(label == one)
        kept[mine] = choose(confidence[mine], keep, None)
    return kept


def _scored(
    curate: Curate, labels: Sequence[str], listing: Listing, visible: np.ndarray, context: StageContext
) -> Kept:
    texts = context.pieces.text_embeddings(labels, curate.template)
    scale = context.pieces.teacher.spec.logit_scale
    samples = [sample for sample, there in zip(listing.samples, visible) if there]
    seen = teacher_embeddings(context, samples, context.pieces.teacher_modality, "curate: teacher looks at samples")
    parts = [confidences(images, texts, scale) for images in seen]
    confidence, label = (np.concatenate(column) for column in zip(*parts))
    if curate.per_label:
        kept = choose_of_each(confidence, label, curate.keep)
    else:
        kept = choose(confidence, curate.keep, curate.threshold)
    if not kept.any():
        raise DataError(
            f"curate.threshold: no sample scores above {curate.threshold} (the surest one has {confidence.max():.3f}). "
            "Lower it, or use keep."
        )
    rows = _unscored(listing, visible)
    rows.label[visible], rows.confidence[visible], rows.kept[visible] = label, confidence, kept
    return rows


def _unscored(listing: Listing, visible: np.ndarray) -> Kept:
    count = len(listing.samples)
    return Kept(
        ids=[sample.id for sample in listing.samples],
        label=np.full(count, -1, dtype=np.int64),
        confidence=np.full(count, np.nan),
        kept=visible.copy(),
    )


def _tell_skipped(context: StageContext, listing: Listing) -> None:
    if listing.skipped:
        first = listing.skipped[0]
        context.progress.say(
            f"{len(listing.skipped)} of {len(listing.samples) + len(listing.skipped)} training samples are left out, "
            f"listed in curate/result.json; the first: {first.where}: {first.reason}"
        )


def _result(
    curate: Curate | None, labels: Sequence[str], rows: Kept, listing: Listing, visible: np.ndarray
) -> dict[str, Any]:
    reasons = Counter(skip.reason for skip in listing.skipped)
    return {
        "labels": list(labels),
        "template": curate.template if curate else None,
        "rule": curate.rule if curate else None,
        "total": len(rows.ids),
        "kept": int(rows.kept.sum()),
        "lowest_kept_confidence": float(rows.confidence[rows.kept].min()) if curate else None,
        "without_teacher_image": int((~visible).sum()),
        "skipped": len(listing.skipped),
        "skipped_reasons": dict(reasons.most_common(20)),
        "skipped_samples": [
            {"id": skip.id, "where": skip.where, "reason": skip.reason} for skip in listing.skipped[:_SKIPS]
        ],
        "per_label": [_label_row(index, label, rows) for index, label in enumerate(labels)],
    }


def _label_row(index: int, label: str, rows: Kept) -> dict[str, Any]:
    """One label: how many samples, how sure; and the ids of the surest kept ones."""
    mine = np.flatnonzero(rows.label == index)
    surest = mine[np.argsort(-rows.confidence[mine], kind="stable")]
    return {
        "label": label,
        "total": len(mine),
        "kept": int(rows.kept[mine].sum()),
        "mean_confidence": float(rows.confidence[mine].mean()) if len(mine) else None,
        "examples": [rows.ids[row] for row in surest[:_EXAMPLES] if rows.kept[row]],
    }
