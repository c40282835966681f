"""The report stage: `report.html` at the top of the run folder, with the sections that observers add.

It reads the run folder only; what the page shows is decided in `edgefw.reporting`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefw.reporting.html import write_report

if TYPE_CHECKING:
    from edgefw.stages.context import StageContext


def fingerprint(context: StageContext) -> dict[str, Any]:
    """Which observers may add sections; the stages before this one are in the chain."""
    return {"observers": context.observers.names}


def run(context: StageContext) -> dict[str, Any]:
    """Write the report."""
    lists = context.observers.call("edgefw_report_sections", run=context.run)
    sections = [section for sections in lists for section in sections]
    path = write_report(context.folder.path, sections)
    return {"report": path.name, "bytes": path.stat().st_size, "sections": [section.title for section in sections]}
