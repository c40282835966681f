"""The report's part about how the student came to be: the curves of training."""

from __future__ import annotations

from typing import Any

from edgefw.reporting.curves import phase_curves
from edgefw.reporting.figure_curves import loss_figure, validation_figure
from edgefw.reporting.numbers import plain
from edgefw.reporting.progress import format_seconds
from edgefw.reporting.run_data import RunData

Part = dict[str, Any]


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
