"""From what a bundle's artefacts said to the numbers that its budget is held against. Arithmetic on sheets; it opens no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.evaluation import Drop, agreement, worst_drop
from edgefw.evaluation.batch_sizes import BothWays, Truth, largest_error, largest_length_error, least_cosine
from edgefw.evaluation.budget import Measured
from edgefw.evaluation.comparison import AGREEMENT, SUMMARY, summary, worst
from edgefw.verifying.sheets import Sheet, best_labels

if TYPE_CHECKING:
    from edgefw.runtime.label_pack import LabelPack

NO_STUDENT = "the bundle holds no student to compare it with"
_COMPARED = ("max_drop", "min_cosine", "min_agreement", "max_error", "max_length_error")


def distance(name: str, source: str, sheets: Sequence[Sheet]) -> dict[str, Any]:
    """The worst modality's numbers, and each modality's under its name; None where there is no other file to compare with."""
    each = {sheet.role: _apart(sheet, name, source) for sheet in sheets if name in sheet.columns}
    return {**worst(list(each.values())), "modalities": each}


def _apart(sheet: Sheet, name: str, source: str) -> dict[str, Any]:
    if name == source:
        return dict.fromkeys((*SUMMARY, AGREEMENT))
    own, other = sheet.columns[name], sheet.columns[source]
    found = summary(*map(np.concatenate, (own.cosine, own.error, own.length)))
    if own.prediction:
        found[AGREEMENT] = agreement(np.concatenate(own.prediction), np.concatenate(other.prediction))
    return found


def alone(
    name: str, source: str, said: Mapping[str, Mapping[str, BothWays]], sheets: Sequence[Sheet], pack: LabelPack | None
) -> tuple[dict[str, BothWays], dict[str, Truth], dict[str, np.ndarray]]:
    """By modality, what an artefact says of images alone, what is known of these, and its cosines to its source in batches."""
    if name == source:
        return {}, {}, {}
    own = {sheet.role: sheet for sheet in sheets if name in sheet.columns}
    truths = {role: _truth(sheet, said[source][role].batch, pack) for role, sheet in own.items()}
    return dict(said[name]), truths, {role: np.concatenate(sheet.columns[name].cosine) for role, sheet in own.items()}


def _truth(sheet: Sheet, source: np.ndarray, pack: LabelPack | None) -> Truth:
    rows, labels = np.array(sheet.kept, np.int64).reshape(-1, 2).T
    return Truth(
        rows=rows, source=source, labels=labels, predict=None if pack is None else partial(_predicted, pack=pack)
    )


def _predicted(embeddings: np.ndarray, pack: LabelPack) -> np.ndarray:
    return best_labels(pack.probabilities(embeddings))


def lost(name: str, source: str, sheets: Sequence[Sheet]) -> Drop | None:
    """Points of top-1 that an artefact loses against another; None without one, and without labelled images."""
    if name == source:
        return None
    right = {}
    for sheet in sheets:
        if name in sheet.columns and sheet.columns[name].prediction:
            truth = np.concatenate(sheet.labels)
            one, other = (np.concatenate(sheet.columns[own].prediction) == truth for own in (source, name))
            right[sheet.role] = one[truth >= 0], other[truth >= 0]
    return worst_drop("top1", right)


def not_finite(name: str, sheets: Sequence[Sheet]) -> int:
    """Images of all folders for which an artefact's embedding is not finite."""
    return sum(sheet.columns[name].not_finite for sheet in sheets if name in sheet.columns)


def measured(record: Mapping[str, Any], quantised: bool) -> Measured:
    """What the budget is held against, from an artefact's finished record."""
    drop: Mapping[str, Any] = record["drop"] or {"points": None, "low": None}
    values = {
        "max_drop": drop["points"],
        "min_cosine": least_cosine(record),
        "min_agreement": record["top1_agreement"],
        "max_ms": record["latency_ms_p50"],
        "max_mb": record["bytes"] / 1e6,
        "max_memory_mib": record["memory_mib"],
        "max_batch_error": record["batch_relative_error"],
        "max_not_finite": float(record["not_finite"]),
    }
    if record["slowdown"] is not None:
        values["max_slowdown"] = record["slowdown"]
    if record["precision"] == "fp32" and record["int8_share"] is None:
        values["max_error"] = largest_error(record)
    else:
        values["max_length_error"] = largest_length_error(record)
    return Measured(
        name=record["name"],
        quantised=quantised,
        values=values,
        intervals={} if drop["low"] is None else {"max_drop": (drop["low"], drop["high"])},
        reasons=_reasons(record),
    )


def _reasons(record: Mapping[str, Any]) -> dict[str, str]:
    """By limit, why an artefact's number is None, if it is."""
    alone = record["reference"] == record["name"]
    held = dict.fromkeys(_COMPARED, NO_STUDENT) if alone else {}
    asked = record["top1_agreement"] is not None
    return {
        "max_drop": "no labelled image" if asked else "no label pack",
        "min_agreement": "no label pack",
        "max_batch_error": "no two images to make a batch of",
        "max_memory_mib": str(record["memory_why"]),
        **held,
    }
