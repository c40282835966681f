"""The cells of the table: which recipe each (method, student, seed) is, and where its run lies.

`rows.yaml` says what a row is made of; this file turns a row into overrides of `small.yaml` and knows what a cell needs.
It runs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
RECIPE = HERE / "small.yaml"
KEPT = ("curate=null", "data.shards.train=${oc.env:EDGEVL_WORK}/data/kept-000000.tar")
"""Overrides of a row that is given what curation kept (kept.py), and not what the teacher took it for."""
EACH = "curate.per_label=true"
"""Override of a row whose curation keeps the surest half of each label's samples."""
_KINDS = {"scheme": "scheme", "sampler": "sampler", "quantizer": "quantizer", "views": "view"}


@dataclass(frozen=True)
class Cell:
    """One training of the table: a row of rows.yaml with its phases in full, a student, a seed; `compute` where it is not that of small.yaml."""

    row: dict[str, Any]
    phases: tuple[dict[str, Any], ...]
    student: str
    piece: dict[str, Any]
    seed: int
    compute: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its run folder."""
        return f"{self.row['method']}-{self.student}-{self.seed}"

    @property
    def start(self) -> str | None:
        """Name of the run it goes on from."""
        return f"{self.row['after']}-{self.student}-{self.seed}" if "after" in self.row else None

    def overrides(self) -> list[str]:
        """`key=value`s on top of small.yaml."""
        given = [f"seed={self.seed}", f"train={json.dumps(self.phases)}"]
        if self.piece:
            given.append(f"student={json.dumps(self.piece)}")
        given += [f"compute={json.dumps(self.compute)}"] if self.compute else []
        given += list(KEPT) if self.row.get("kept") else []
        given += [EACH] if self.row.get("of-each-label") else []
        given += [f"export.calibration={self.row['calibration']}"] if "calibration" in self.row else []
        return [*given, f"export.quantizers={json.dumps(self.row.get('quantizers', []))}"]

    def digest(self) -> str:
        """Of everything that decides the run but the data and the teacher."""
        return hashlib.sha256(("\n".join(self.overrides()) + RECIPE.read_text(encoding="utf-8")).encode()).hexdigest()

    def techniques(self) -> set[tuple[str, str]]:
        """(kind, name) of every technique that its phases and quantizers name."""
        found = {("quantizer", piece["name"]) for piece in self.row.get("quantizers", [])}
        for phase in self.phases:
            found |= {(kind, phase[key]["name"]) for key, kind in _KINDS.items() if key in phase}
            found |= {("loss", loss["name"]) for loss in phase["losses"]}
        return found | ({("student", self.piece["name"])} if self.piece else set())


def cells(
    methods: Sequence[str] = (), students: Sequence[str] = (), seeds: Sequence[int] = (), steps: int | None = None
) -> Iterator[Cell]:
    """The cells asked for, each after the one that it starts from; an empty choice is everything that is in the table.

    `steps` replaces the budget of every phase. A row that is not for a student has no cell of it.

    Raises:
        SystemExit: if a method or a student is not in rows.yaml, or none of the methods is for any of the students.
    """
    table = yaml.safe_load((HERE / "rows.yaml").read_text(encoding="utf-8"))
    _known("method", methods, [row["method"] for row in table["rows"]])
    _known("student", students, list(table["students"]))
    _fitting(table["rows"], methods, students)
    for student in students or table["in-table"]:
        first = student == table["in-table"][0]
        for seed in seeds or (table["seeds"] if first else table["seeds"][:1]):
            for row in table["rows"]:
                own = table["students"][student]
                in_table = first or own.get("rows") == "all" or row["method"] in table["few-rows"]
                if _is_for(row, student) and (row["method"] in methods if methods else in_table):
                    phases = tuple(_phase(table, own, name, steps) for name in row["phases"])
                    yield Cell(row, phases, student, own.get("student", {}), seed, own.get("compute", {}))


def _phase(table: dict[str, Any], own: dict[str, Any], name: str, steps: int | None) -> dict[str, Any]:
    """A phase in full: what every phase has, what this student's have, its own keys."""
    phase = {"name": name} | table["every-phase"] | own.get("every-phase", {}) | table["phases"][name]
    budget = own.get("budget", table["budget"])
    return phase | {"steps": steps or budget.get(phase["steps"], phase["steps"])}


def _is_for(row: dict[str, Any], student: str) -> bool:
    return student in row.get("students", [student])


def _fitting(rows: Sequence[dict[str, Any]], methods: Sequence[str], students: Sequence[str]) -> None:
    asked = [row for row in rows if row["method"] in methods] if students else []
    if asked and not any(_is_for(row, student) for row in asked for student in students):
        said = "; ".join(f"{row['method']} is for {', '.join(row['students'])}" for row in asked)
        raise SystemExit(f"no cell is left of {', '.join(students)}: {said}.")


def _known(what: str, asked: Sequence[str], there: Sequence[str]) -> None:
    for name in asked:
        if name not in there:
            raise SystemExit(f"there is no {what} '{name}' in rows.yaml. There are: {', '.join(there)}.")
