"""Read finished cells into the rows of `results.json`, with means and spreads over seeds, and print them as tables.

A cell's numbers are those of robustness.py on its exported float file; training time is processor time, so what else runs on the machine does
not count as waiting, though it slows the shared core. The teacher's row is measured on the same pictures.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablation import Cell
from claims import judged
from corruptions import FAMILIES_IN_TRAINING
from sets import HERE

sys.path.insert(0, str(HERE.parent))
from running import machine

METRICS = ("clean", "clean_balanced", "auc", "corrupted", "corrupted_auc", "train_seconds", "megabytes")
_PER_CENT = ("clean", "clean_balanced", "auc", "corrupted")


def run_numbers(run: Path) -> dict[str, Any]:
    """Training time and size of one run, and its losses at the start, after a quarter of the steps and at the end: a collapse shows there."""
    states = (json.loads(file.read_text(encoding="utf-8")) for file in run.glob("train/*/phase.json"))
    seconds = sum(state["result"]["cpu_seconds"] for state in states)
    artefacts = json.loads((run / "result.json").read_text(encoding="utf-8"))["artefacts"]
    return {
        "train_seconds": round(seconds, 1),
        "megabytes": round(artefacts[0]["bytes"] / 1e6, 3),
        "losses": _losses(run / "metrics.jsonl"),
    }


def _losses(metrics: Path) -> dict[str, dict[str, float]]:
    """The logged losses of the first step, of the one nearest to a quarter, and of the last."""
    logged = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    steps = [line for line in logged if "losses" in line]
    quarter = min(steps, key=lambda line: abs(line["step"] - steps[-1]["step"] / 4))
    told = {"start": steps[0], "quarter": quarter, "end": steps[-1]}
    return {
        name: {"step": line["step"], **{loss: round(value, 4) for loss, value in line["losses"].items()}}
        for name, line in told.items()
    }


def results(
    done: Sequence[tuple[Cell, dict[str, Any]]], teachers: Mapping[str, dict[str, Any]], about: Mapping[str, Any]
) -> dict[str, Any]:
    """What `results.json` holds: the teacher's rows, a row per set and row, and the claims per set.

    Args:
        done: cells with their numbers.
        teachers: set -> numbers of the teacher.
        about: what else is stated (the teacher's training, the split).
    """
    groups: dict[tuple[str, str], list[tuple[Cell, dict[str, Any]]]] = defaultdict(list)
    for cell, numbers in done:
        groups[cell.set, cell.row["row"]].append((cell, numbers))
    rows = [_teacher_row(name, found) for name, found in teachers.items()]
    rows += [_row(members) for members in groups.values()]
    by_set: dict[str, dict[str, dict[int, dict[str, Any]]]] = defaultdict(dict)
    for (name, row), members in groups.items():
        by_set[name][row] = {cell.seed: numbers for cell, numbers in members}
    claims = [{"set": name, **claim} for name, own in by_set.items() for claim in judged(own)]
    return {"rows": rows, "claims": claims, **about, "machine": machine()}


def _teacher_row(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: found[key] for key in METRICS if key in found}
    return {
        "set": name,
        "row": "teacher",
        "title": "teacher",
        "seeds": 1,
        "n": found["n"],
        "n_corrupted": found["n_corrupted"],
        **kept,
        **_corruptions([found]),
    }


def _row(members: Sequence[tuple[Cell, dict[str, Any]]]) -> dict[str, Any]:
    cell, numbers = members[0][0], [found for _, found in members]
    spread = {f"{key}_spread": _spread([found[key] for found in numbers]) for key in _PER_CENT}
    return {
        "set": cell.set,
        "row": cell.row["row"],
        "title": cell.row["title"],
        "seeds": len(members),
        "n": numbers[0]["n"],
        "n_corrupted": numbers[0]["n_corrupted"],
        "images_shown": cell.images,
        **{key: round(statistics.mean(found[key] for found in numbers), 6) for key in METRICS},
        **spread,
        **_corruptions(numbers),
    }


def _spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None of a single value."""
    return round(statistics.stdev(values), 6) if len(values) > 1 else None


def _corruptions(numbers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean top-1 of each corruption over severities and seeds; and over the families that training has, and those it has not."""
    each = {
        name: statistics.mean(statistics.mean(found["by_corruption"][name]) for found in numbers)
        for name in numbers[0]["by_corruption"]
    }
    known = [value for name, value in each.items() if name in FAMILIES_IN_TRAINING]
    other = [value for name, value in each.items() if name not in FAMILIES_IN_TRAINING]
    return {
        "by_corruption": {name: round(value, 6) for name, value in each.items()},
        "corrupted_families_in_training": round(statistics.mean(known), 6),
        "corrupted_other_families": round(statistics.mean(other), 6),
    }


def table(found: Mapping[str, Any]) -> str:
    """Rows and claims in Markdown, in per cent and points."""
    lines = []
    for name in dict.fromkeys(row["set"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["set"] == name]
        lines += [
            f"**{name}**: {rows[0]['n']} images, {rows[0]['n_corrupted']} of them corrupted",
            "",
            *_rows(rows),
            "",
        ]
    lines += [
        "| set | claim | clean, points | balanced, points | corrupted, points | holds | in every seed | beyond its spread |",
        "|" + "---|" * 8,
    ]
    for claim in found["claims"]:
        points = [_points(claim[key]) for key in ("clean", "clean_balanced", "corrupted")]
        words = ["yes" if claim[key] else "no" for key in ("holds", "every_seed", "beyond_spread")]
        lines.append(f"| {' | '.join([claim['set'], claim['claim'], *points, *words])} |")
    return "\n".join(lines) + "\n"


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| row | clean | balanced | AUC | corrupted | families of training | other families | seeds | train s |",
        "|" + "---|" * 9,
    ]
    for row in rows:
        cells = [_mean_and_spread(row, key) for key in _PER_CENT]
        parts = [f"{100 * row[f'corrupted_{part}']:.1f}" for part in ("families_in_training", "other_families")]
        seconds = f"{row['train_seconds']:.0f}" if "train_seconds" in row else "-"
        lines.append(f"| {' | '.join([row['title'], *cells, *parts, str(row['seeds']), seconds])} |")
    return lines


def _mean_and_spread(row: Mapping[str, Any], key: str) -> str:
    spread = row.get(f"{key}_spread")
    return f"{100 * row[key]:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")


def _points(difference: Mapping[str, Any]) -> str:
    spread = difference["spread"]
    return f"{difference['points']:+.1f}" + ("" if spread is None else f" ± {spread:.1f}")
