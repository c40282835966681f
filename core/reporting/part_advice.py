"""What the backends of a run say of the student's operators, as sentences for the plan, the log and the report.

Knows the rows of `edgefw.stages.advice` and `export/result.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefw.reporting.run_data import RunData


def advice_line(row: Mapping[str, Any]) -> str:
    """A row as two or three sentences."""
    where = ", ".join(row["files"]) or f"int8 files of {row['backend']}, if the recipe gets any"
    instead = f" Without it: {' or '.join(row['instead'])}." if row["instead"] else ""
    return f"{row['calls']} x {row['operator']} {row['why']}. Concerns {where}.{instead}"


def advice(run: RunData) -> dict[str, Any]:
    """A sentence per row."""
    rows = run.stage("export").get("advice") or []
    return {"lines": [advice_line(row) for row in rows]} if rows else {"absent": "nothing to advise."}
