"""The one word on a run that scripts and pages share. Knows what `verify` writes."""

from __future__ import annotations

from edgefw.reporting.run_data import RunData


def status_of(run: RunData) -> str:
    """ "ok", "gate-failed" when a check of the budget does not hold, "incomplete" when nothing was verified."""
    verified = run.stage("verify")
    if not verified:
        return "incomplete"
    return "ok" if all(check.get("ok") for check in verified.get("budget") or []) else "gate-failed"
