"""The one word on a run that scripts and pages share. Knows what `verify` writes."""

from __future__ import annotations

from edgefw.reporting.run_data import RunData


def status_of(run: RunData) -> str:
    """ "ok", "gate-failed" when a check does not hold or a file was not judged, "incomplete" when nothing was verified."""
    verified = run.stage("verify")
    if not verified:
        return "incomplete"
    kept = all(check.get("ok") for check in verified.get("budget") or [])
    return "ok" if kept and not verified.get("unjudged") else "gate-failed"
