"""What an observer is told about a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """One execution of a recipe.

    Attributes:
        folder: the run folder.
        recipe: name or path of the recipe as the user gave it.
        config: the resolved recipe as plain values.
    """

    folder: Path
    recipe: str
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A section that an observer adds to the report. `html` is inserted as it is; it must be self-contained."""

    title: str
    html: str
