"""The report stage: `report.html` at the top of the run folder, with the sections that observers add.

It reads the run folder only; what the page shows is decided in `edgefw.reporting`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefw.reporting.html import write_report
from edgefw.stages.licences import RECORDED, stated

if TYPE_CHECKING:
    from edgefw.stages.context import StageContext


def fingerprint(context: StageContext) -> dict[str, Any]:
    """Which observers may add sections, and licences, where the recipe states others than it did when it was trained.

    The stages before this one are in the chain.
    """
    licences = stated(context.composition)
    then = context.folder.result("train").get(RECORDED, {})
    return {"observers": context.observers.names, **({"licences": licences} if licences != then else {})}


def run(context: StageContext) -> dict[str, Any]:
    """Write the report."""
    lists = context.observers.call("edgefw_report_sections", run=context.run)
    sections = [section for sections in lists for section in sections]
    path = write_report(context.folder.path, sections)
    return {"report": path.name, "bytes": path.stat().st_size, "sections": [section.title for section in sections]}
