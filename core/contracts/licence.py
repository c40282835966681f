"""What teachers and students say of the licence of their weights, and what they leave to the user to state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgefw.contracts.student import StudentSpec
    from edgefw.contracts.teacher import TeacherSpec

UNKNOWN = "unknown"
"""A licence that nobody states."""

RANDOM = "random weights"
"""What stands in the place of a licence where no weights were loaded."""


def unlicensed(spec: TeacherSpec | StudentSpec) -> tuple[str, ...]:
    """Keys, below the technique's options, that would state what is unknown; empty where everything is known."""
    named: tuple[str, ...] = getattr(spec, "unlicensed", ())
    return named or (("licence",) if spec.licence == UNKNOWN else ())
