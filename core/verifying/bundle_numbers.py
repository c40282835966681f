"""From what a bundle's artefacts said to the numbers that its budget is held against. Arithmetic on sheets; it opens no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgefw.evaluation import Drop, agreement, worst_drop
from edgefw.evaluation.budget import Measured
from edgefw.evaluation.comparison import summary
from edgefw.verifying.sheets import Sheet

_WORST = {"cosine_mean": min, "cosine_p1": min, "cosine_min": min, "top1_agreement": min}
_WORST |= {"relative_error_mean": max, "relative_error_max": max}


def distance(name: str, source: str, sheets: Sequence[Sheet]) -> dict[str, Any]:
    """The worst modality's numbers, and each modality's under its name."""
    each: dict[str, dict[str, Any]] = {}
    for sheet in sheets:
        if name in sheet.columns:
            own, other = sheet.columns[name], sheet.columns[source]
            each[sheet.role] = summary(np.concatenate(own.cosine), np.concatenate(own.error))
            if own.prediction:
                agreed = agreement(np.concatenate(own.prediction), np.concatenate(other.prediction))
                each[sheet.role]["top1_agreement"] = agreed
    worst = {}
    for key, worse in _WORST.items():
        values = [row[key] for row in each.values() if row.get(key) is not None]
        worst[key] = worse(values) if values else None
    return {**worst, "modalities": each}


def lost(name: str, source: str, sheets: Sequence[Sheet]) -> Drop | None:
    """Points of top-1 that an artefact loses against another; None without labelled images."""
    right = {}
    for sheet in sheets:
        if name in sheet.columns and sheet.columns[name].prediction:
            truth = np.concatenate(sheet.labels)
            one, other = (np.concatenate(sheet.columns[own].prediction) == truth for own in (source, name))
            right[sheet.role] = one[truth >= 0], other[truth >= 0]
    return worst_drop("top1", right)


def measured(record: Mapping[str, Any]) -> Measured:
    """What the budget is held against, from an artefact's finished record."""
    drop, quantised = record["drop"] or {"points": None, "low": None}, record["reference"] != record["name"]
    return Measured(
        name=record["name"],
        quantised=quantised,
        values={
            "max_drop": drop["points"],
            "min_cosine": record["cosine_mean"],
            "min_agreement": record["top1_agreement"],
            "max_slowdown": record["slowdown"],
            "max_ms": record["latency_ms_p50"],
            "max_mb": record["bytes"] / 1e6,
            "max_not_finite": float(record["not_finite"]),
        },
        intervals={} if drop["low"] is None or not quantised else {"max_drop": (drop["low"], drop["high"])},
    )
