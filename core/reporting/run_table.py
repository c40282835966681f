"""What a finished run prints: teacher, student and artefacts by modality, with latency and size, and where things are.

It reads the dictionary of `result.json` and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from edgefw.reporting.tables import print_summary


def print_run(folder: Path, result: Mapping[str, Any]) -> None:
    """Print the summary of a run on stdout."""
    console = Console(highlight=False)
    if result["evaluation"]:
        print_summary(result)
    _print_stages(console, result)
    files = (("report", folder / "report.html"), ("bundle", folder / "bundle"), ("result", folder / "result.json"))
    for name, path in files:
        if path.exists():
            console.print(f"{name}: {path}", markup=False, soft_wrap=True)


def _print_stages(console: Console, result: Mapping[str, Any]) -> None:
    parts = [
        f"{row['name']} {'skipped' if row['skipped'] else format(row['seconds'], '.1f') + ' s'}"
        for row in result["stages"]
    ]
    console.print("stages: " + ", ".join(parts), markup=False, soft_wrap=True)
