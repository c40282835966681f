"""The cells of the ablation: which recipe each (row, set, seed) is.

`rows.yaml` says what a row is made of; this file turns a row into overrides of `ablation.yaml`. It runs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sets import HERE, SETS

RECIPE = HERE / "ablation.yaml"
_KINDS = {"scheme": "scheme", "sampler": "sampler", "views": "view"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training: a row of rows.yaml with its phase in full, a set, a seed."""

    row: dict[str, Any]
    phase: dict[str, Any]
    set: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its run folder."""
        return f"{self.set}-{self.row['row']}-{self.seed}"

    @property
    def images(self) -> int:
        """How many images the student is shown."""
        return int(self.phase["steps"] * self.phase["batch"] * self.phase.get("sampler", {}).get("views", 1))

    def overrides(self, data: Path, work: Path, part: str) -> list[str]:
        """`key=value`s on top of ablation.yaml; `part` is what the run is verified on, "val" or "test"."""
        piece = SETS[self.set].recipe(data, work, part)
        return [f"seed={self.seed}", f"data={json.dumps(piece)}", f"train={json.dumps([self.phase])}"]

    def digest(self, teacher: str) -> str:
        """Of everything that decides the run but the images; `teacher` is the hash of its weights."""
        stated = [str(self.seed), self.set, json.dumps(self.phase, sort_keys=True), teacher]
        return hashlib.sha256("\n".join([*stated, RECIPE.read_text(encoding="utf-8")]).encode()).hexdigest()

    def techniques(self) -> set[tuple[str, str]]:
        """(kind, name) of every technique that its phase names."""
        found = {(kind, self.phase[key]["name"]) for key, kind in _KINDS.items() if key in self.phase}
        for loss in self.phase["losses"]:
            found.add(("loss", loss["name"]))
            found |= {("projector", loss["projector"]["name"])} if "projector" in loss else set()
        return found


def cells(
    rows: Sequence[str] = (),
    sets: Sequence[str] = (),
    seeds: Sequence[int] = (),
    steps: int | None = None,
    table: str = "in-table",
) -> Iterator[Cell]:
    """The cells asked for, seed by seed; an empty choice is everything that is in the table.

    Args:
        rows, sets, seeds: what is asked for.
        steps: replaces the budget.
        table: which list of rows.yaml is meant: "in-table" or "controls".

    Raises:
        SystemExit: if a row or a set does not exist.
    """
    stated = yaml.safe_load((HERE / "rows.yaml").read_text(encoding="utf-8"))
    _known("row", rows, [row["row"] for row in stated["rows"]])
    _known("set", sets, list(SETS))
    chosen = [row for row in stated["rows"] if row["row"] in (rows or stated[table])]
    for seed in seeds or stated["control-seeds" if table == "controls" else "seeds"]:
        for name in sets or SETS:
            for row in (row for row in chosen if name in row.get("sets", SETS)):
                yield Cell(row=row, phase=_phase(stated, row, steps), set=name, seed=seed)


def _phase(table: dict[str, Any], row: dict[str, Any], steps: int | None) -> dict[str, Any]:
    own = row.get("phase", {})
    phase = table["phase"] | own | {"optimiser": table["phase"]["optimiser"] | own.get("optimiser", {})}
    weights = row.get("weights", {})
    losses = [table["losses"][name] | ({"weight": weights[name]} if name in weights else {}) for name in row["losses"]]
    return phase | {"losses": losses, "views": table["views"][row["views"]], "steps": steps or phase["steps"]}


def _known(what: str, asked: Sequence[str], there: Sequence[str]) -> None:
    for name in asked:
        if name not in there:
            raise SystemExit(f"there is no {what} '{name}'. There are: {', '.join(there)}.")
