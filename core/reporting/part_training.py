"""The report's parts about how the student came to be: curation and the curves of training."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgefw.reporting.curves import phase_curves
from edgefw.reporting.figure_bars import class_figure, histogram_figure
from edgefw.reporting.figure_curves import loss_figure, validation_figure
from edgefw.reporting.numbers import percent, plain
from edgefw.reporting.progress import format_seconds
from edgefw.reporting.run_data import RunData

Part = dict[str, Any]
_BINS = 20
_MOST_CLASSES = 40


def curves(run: RunData) -> Part:
    """A loss figure and a validation figure for every phase, with what was selected."""
    phases = phase_curves(run.metrics)
    if not phases:
        return {"absent": "metrics.jsonl holds no step: training has not begun, or the file is missing."}
    records = {record.get("name"): record for record in run.stage("train").get("phases") or []}
    return {
        "phases": [
            {
                "name": phase.phase,
                "loss": loss_figure(phase),
                "validation": validation_figure(phase),
                "selected": _selected(records.get(phase.phase, {})),
            }
            for phase in phases
        ]
    }


def curation(run: RunData) -> Part:
    """How many samples were kept and why the others were not."""
    result = run.stage("curate")
    if not result:
        return {"absent": "the stage curate is not complete."}
    facts = [
        ("readable training samples", plain(result.get("total"))),
        ("kept", f"{plain(result.get('kept'))} ({percent(_share(result))})"),
        ("lowest confidence kept", plain(result.get("lowest_kept_confidence"))),
        ("left out as unreadable", plain(result.get("skipped"))),
        ("without an image for the teacher", plain(result.get("without_teacher_image"))),
        ("prompt", plain(result.get("template"))),
    ]
    return {
        "facts": facts,
        "classes": _class_figure(result),
        "histogram": _histogram(run),
        "reasons": sorted((result.get("skipped_reasons") or {}).items(), key=lambda item: -item[1]),
        "skipped": result.get("skipped_samples") or [],
    }


def _selected(record: Any) -> str:
    if not record:
        return ""
    selected = record.get("selected") or {}
    seconds = record.get("seconds")
    parts = [f"{plain(record.get('steps'))} steps"]
    if seconds is not None:
        parts.append(format_seconds(float(seconds)))
    if selected.get("by") and selected["by"] != "last":
        parts.append(f"kept: step {plain(selected.get('step'))}, best {selected['by']} {plain(selected.get('value'))}")
    elif selected:
        parts.append("kept: the last step")
    return ", ".join(parts)


def _share(result: Any) -> float | None:
    total, kept = result.get("total"), result.get("kept")
    return kept / total if total and kept is not None else None


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
