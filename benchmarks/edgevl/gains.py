"""What does each row add to the one that it starts from, seed by seed? A second table out of `cells.json`; nothing is trained.

    python benchmarks/edgevl/gains.py

Rows `after` another one go on from the weights of that row's run of the same seed, so their difference is free of what another start would
change. (Rows added later go on from stage 1 made again, with the accuracies that `cells.json` holds.)
`longer`, as many float steps as a second stage has, is what steps do by themselves; the row "stage 1 again, other crops" trains as stage 1 does with
another draw of crops, so its difference to stage 1 is what chance makes of one seed. Points of top-1, balanced top-1 in brackets; `gains.md` holds the table.
"""

from __future__ import annotations

import json
import statistics
from typing import Any

from cells import HERE, Cell, cells

AGAIN = ("known-stage-1", "stage-1")
"""A row that repeats another one."""
BALANCED = "average_balanced"


def main() -> None:
    each = json.loads((HERE / "cells.json").read_text(encoding="utf-8"))
    found = table(list(cells()), each)
    (HERE / "gains.md").write_text(found, encoding="utf-8")
    print(found)


def table(every: list[Cell], each: dict[str, dict[str, Any]]) -> str:
    """The gains in Markdown, a line for each row and student."""
    lines = ["| row | student | over | gain of each seed | mean |", "|---|---|---|---|---|"]
    titles = {cell.row["method"]: cell.row["title"] for cell in every}
    for (method, student, over), pairs in paired(every, each).items():
        gains = [(100 * (a["average"] - b["average"]), 100 * (a[BALANCED] - b[BALANCED])) for a, b in pairs]
        of_seeds = ", ".join(_points(*gain) for gain in gains)
        mean = _points(*(statistics.mean(column) for column in zip(*gains)))
        lines.append(f"| {titles[method]} | {student} | {titles[over]} | {of_seeds} | {mean} |")
    return "\n".join(lines) + "\n"


def paired(
    every: list[Cell], each: dict[str, dict[str, Any]]
) -> dict[tuple[str, str, str], list[tuple[dict[str, Any], dict[str, Any]]]]:
    """(method, student, the method it is held against) -> the numbers of both, seed by seed."""
    found: dict[tuple[str, str, str], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for cell in every:
        method = cell.row["method"]
        over = AGAIN[1] if method == AGAIN[0] else cell.row.get("after")
        other = f"{over}-{cell.student}-{cell.seed}"
        if over and cell.name in each and other in each:
            found.setdefault((method, cell.student, over), []).append((each[cell.name], each[other]))
    return found


def _points(plain: float, balanced: float) -> str:
    return f"{round(plain, 1) + 0.0:+.1f} ({round(balanced, 1) + 0.0:+.1f})"  # no minus before a 0


if __name__ == "__main__":
    main()
