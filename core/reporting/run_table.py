"""What a finished run prints: teacher, student and artefacts by modality, with latency and size, and where things are.

It reads the dictionary of `result.json` and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_MAIN = ("top1", "balanced_top1", "agreement", "teacher_agreement", "cosine")
"""The metric that the table shows is the first of these that was measured."""


def print_run(folder: Path, result: Mapping[str, Any]) -> None:
    """Print the summary of a run on stdout."""
    console = Console(highlight=False)
    if result["evaluation"]:
        console.print(evaluation_table(result))
    _print_stages(console, result)
    files = (("report", folder / "report.html"), ("bundle", folder / "bundle"), ("result", folder / "result.json"))
    for name, path in files:
        if path.exists():
            console.print(f"{name}: {path}", markup=False, soft_wrap=True)


def evaluation_table(result: Mapping[str, Any]) -> Table:
    """One row per model: the main metric per modality, latency at batch 1, size."""
    rows = result["evaluation"]
    metric = next((name for name in _MAIN if any(row["metric"] == name for row in rows)), rows[0]["metric"])
    shown = {(row["model"], row["modality"]): row for row in rows if row["metric"] == metric}
    models = list(dict.fromkeys(model for model, _ in shown))
    modalities = list(dict.fromkeys(modality for _, modality in shown))
    counts = sorted({row["n"] for row in shown.values()})
    table = Table(title=f"{metric}, {' to '.join(map(str, counts))} held-out samples", title_justify="left")
    table.add_column("model")
    for modality in modalities:
        table.add_column(modality, justify="right")
    table.add_column("p50 ms", justify="right")
    table.add_column("MB", justify="right")
    for model in models:
        values = [_value(shown.get((model, modality)), metric) for modality in modalities]
        table.add_row(model, *values, *_costs(model, result["artefacts"]))
    return table


def _value(row: Mapping[str, Any] | None, metric: str) -> str:
    if row is None or row["value"] is None:
        return "-"
    return f"{row['value']:.4f}" if metric == "cosine" else f"{100 * row['value']:.1f} %"


def _costs(model: str, artefacts: list[Mapping[str, Any]]) -> tuple[str, str]:
    """p50 latency and megabytes of the artefact of that name; dashes for teacher and student."""
    for artefact in artefacts:
        if f"{artefact['backend']}-{artefact['precision']}" == model:
            latency = artefact.get("latency_ms_p50")
            return "-" if latency is None else f"{latency:.2f}", f"{artefact['bytes'] / 1e6:.2f}"
    return "-", "-"


def _print_stages(console: Console, result: Mapping[str, Any]) -> None:
    parts = [
        f"{row['name']} {'skipped' if row['skipped'] else format(row['seconds'], '.1f') + ' s'}"
        for row in result["stages"]
    ]
    console.print("stages: " + ", ".join(parts), markup=False, soft_wrap=True)
