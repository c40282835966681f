"""The report's part on curation: counts, the histogram of confidences, and pictures of what each label kept.

Knows `curate/result.json` and `curate/kept.parquet`; a picture that is absent is shown as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgefw.reporting import part_near_duplicates
from edgefw.reporting.figure_bars import class_figure, histogram_figure
from edgefw.reporting.numbers import known, percent, plain
from edgefw.reporting.part_pictures import data_uri
from edgefw.reporting.run_data import RunData

Part = dict[str, Any]
_BINS = 20
_MOST_CLASSES = 40


def curation(run: RunData) -> Part:
    """How many samples were kept, which, and why the others were not."""
    result = run.stage("curate")
    if not result:
        return {"absent": "the stage curate is not complete."}
    facts = [
        ("readable training samples", plain(result.get("total"))),
        ("rule", plain(result.get("rule"))),
        ("kept", f"{plain(result.get('kept'))} ({percent(_share(result))})"),
        ("lowest confidence kept", plain(result.get("lowest_kept_confidence"))),
        ("left out as unreadable", plain(result.get("skipped"))),
        ("without an image for the teacher", plain(result.get("without_teacher_image"))),
        ("prompt", plain(result.get("template"))),
        ("near duplicates", part_near_duplicates.summary(run)),
    ]
    return {
        "facts": facts,
        "classes": _class_figure(result),
        "histogram": _histogram(run),
        "labels": _labels(run, result),
        "alike": part_near_duplicates.examples(run),
        "reasons": sorted((result.get("skipped_reasons") or {}).items(), key=lambda item: -item[1]),
        "skipped": result.get("skipped_samples") or [],
    }


def _share(result: Any) -> float | None:
    total, kept = result.get("total"), result.get("kept")
    return kept / total if total and kept is not None else None


def _labels(run: RunData, result: Mapping[str, Any]) -> list[Part]:
    """Labels with pictures, the commonest first: counts, and the surest samples kept and left out."""
    rows = sorted(result.get("per_label") or [], key=lambda row: -(row.get("total") or 0))
    return [
        {
            "name": str(row.get("label")),
            "counts": f"{plain(row.get('kept'))} of {plain(row.get('total'))} kept",
            "mean": percent(row.get("mean_confidence")),
            "kept": [_card(run, card) for card in row["pictures"] if card.get("kept")],
            "left_out": [_card(run, card) for card in row["pictures"] if not card.get("kept")],
        }
        for row in rows
        if row.get("pictures")
    ]


def _card(run: RunData, card: Mapping[str, Any]) -> Part:
    confidence = known(card.get("confidence"))
    return {
        "id": str(card.get("id")),
        "confidence": percent(confidence),
        "picture": data_uri(run.folder, str(card["picture"])) if card.get("picture") else None,
    }


def _class_figure(result: Any) -> str:
    """Kept of seen by pseudo-label; the commonest ones where there are many."""
    rows = sorted(result.get("per_label") or [], key=lambda row: -(row.get("total") or 0))[:_MOST_CLASSES]
    if not rows:
        return ""
    names = [str(row.get("label")) for row in rows]
    kept, seen = [int(row.get("kept") or 0) for row in rows], [int(row.get("total") or 0) for row in rows]
    return class_figure(names, kept, seen, "Kept samples by pseudo-label")


def _histogram(run: RunData) -> str:
    """Confidence of kept and left-out samples; empty where nothing was scored or pyarrow is not installed."""
    file = run.folder / "curate" / "kept.parquet"
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        return ""
    try:
        table = parquet.read_table(file, columns=["confidence", "kept"]).to_pydict()
    except (OSError, ArrowException):
        return ""
    confidence = np.array(table["confidence"], dtype=np.float64)
    kept, scored = np.array(table["kept"], dtype=bool), ~np.isnan(confidence)
    if not scored.any():
        return ""
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    inside = np.histogram(confidence[scored & kept], edges)[0].tolist()
    outside = np.histogram(confidence[scored & ~kept], edges)[0].tolist()
    return histogram_figure(edges.tolist(), inside, outside, "Confidence of the teacher")
