"""The report's part about how the student came to be: the curves of training, and what samplers report of their epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgefw.reporting.curves import phase_curves
from edgefw.reporting.figure_curves import loss_figure, validation_figure
from edgefw.reporting.numbers import ABSENT, plain
from edgefw.reporting.progress import format_seconds
from edgefw.reporting.run_data import RunData

Part = dict[str, Any]
_EPOCHS = 6
"""At most so many epochs of a sampler's report are shown: the first, the last, and some between."""


def curves(run: RunData) -> Part:
    """A loss figure and a validation figure for every phase, with what was selected and what its sampler reported."""
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
                "sampler": _sampler(phase.sampler),
            }
            for phase in phases
        ]
    }


def _sampler(reports: Mapping[int, Mapping[str, float]]) -> Part:
    """A row per number, a column per shown epoch; empty without a report."""
    if not reports:
        return {}
    epochs = _spread(list(reports))
    names = dict.fromkeys(name for report in reports.values() for name in report)
    rows = [(name.replace("_", " "), [_count(reports[epoch].get(name)) for epoch in epochs]) for name in names]
    return {"epochs": epochs, "rows": rows, "total": len(reports)}


def _spread(epochs: Sequence[int]) -> list[int]:
    """At most `_EPOCHS` of them, evenly, the first and the last among them."""
    count = min(_EPOCHS, len(epochs))
    return [epochs[round(at * (len(epochs) - 1) / max(1, count - 1))] for at in range(count)]


def _count(value: float | None) -> str:
    """A whole number as one: samplers report counts as floats."""
    if value is None:
        return ABSENT
    return plain(int(value)) if value.is_integer() else plain(value)


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
