"""Read the runs of finished cells into the rows of `results.json`, and print them as a table.

Every figure is that of the exported file on the test split, as the run's `result.json` states it: the file of int8
where a row is int8, else that of float; of files that take one image, since the columns are single sensors. Training
time is processor time: what else runs on the machine does not count. The teacher's row is what the runs of stage 1 say
about their teacher.
"""

from __future__ import annotations

import json
import math
import statistics
import struct
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cells import HERE, Cell
from start import digest, start_file, starting

sys.path.insert(0, str(HERE.parent))
from running import machine

MODALITIES = ("depth", "rgb")


def refuse_missing(runs: Sequence[Path]) -> None:
    """Say which runs of the table's cells are not there, and what makes them.

    Raises:
        SystemExit: if one is not finished.
    """
    missing = [run.name for run in runs if not (run / "cell.json").is_file()]
    if missing:
        raise SystemExit(
            f"{runs[0].parent} lacks the finished runs {', '.join(missing)}. Make them with `python benchmarks/edgevl/run.py --own-runs`, "
            "with --only, --students and --seeds of the names' parts; without --own-runs a cell that cells.json holds is not run"
        )


def measured(run: Path, bits: int) -> dict[str, Any]:
    """Accuracies, size and training time of one run; "teacher" holds what it says about its teacher."""
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    single = {line["model"] for line in result["evaluation"] if line["modality"] in MODALITIES}  # not "rgb+depth"
    files = [
        file for file in result["artefacts"] if (file["precision"] != "fp32") == (bits == 8) and file["name"] in single
    ]
    names = {file["name"] for file in files}
    states = (json.loads(file.read_text(encoding="utf-8")) for file in run.glob("train/*/phase.json"))
    return {
        **_accuracies(result, names),
        "megabytes": sum(file["bytes"] for file in files) / 1e6,
        "train_seconds": sum(state["result"]["cpu_seconds"] for state in states),
        "teacher": _accuracies(result, {"teacher"}),
    }


def _accuracies(result: dict[str, Any], models: set[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in result["evaluation"]:
        if line["model"] in models and line["metric"] in ("top1", "balanced_top1"):
            key = line["modality"] + ("_balanced" if line["metric"] == "balanced_top1" else "")
            found[key] = line["value"]
    for ending in ("", "_balanced"):
        found[f"average{ending}"] = statistics.mean(found[modality + ending] for modality in MODALITIES)
    return found


def results(cells: Sequence[Cell], each: Mapping[str, dict[str, Any]], teacher: Path) -> dict[str, Any]:
    """What `results.json` holds: a row per method and student, means over seeds.

    Args:
        cells: of the table, whether finished or not.
        each: numbers of the finished ones by name, as `cells.json` keeps them.
        teacher: its folder.
    """
    groups: dict[tuple[str, str], list[tuple[Cell, dict[str, Any]]]] = defaultdict(list)
    for cell in (cell for cell in cells if cell.name in each):
        groups[cell.row["method"], cell.student].append((cell, each[cell.name]))
    rows = [_row(members) for members in groups.values()]
    seen = next((numbers["teacher"] for members in groups.values() for _, numbers in members), None)
    processors = {numbers["cpu"] for members in groups.values() for _, numbers in members}
    where = machine() | {"cpu": ", ".join(sorted(processors))}
    return {"rows": ([_teacher_row(seen, teacher)] if seen else []) + rows, "machine": where}


def record(cell: Cell, runs: Path, work: Path) -> dict[str, Any]:
    """What `cells.json` keeps of a finished cell: its numbers, and what it was made of, so that it need not be run again elsewhere."""
    made = {"digest": cell.digest(), "teacher_sha256": weights_of(work / "teacher"), "cpu": machine()["cpu"]}
    first = {"start_sha256": digest(start_file(cell.student, work))} if cell.student in starting() else {}
    return measured(runs / cell.name, cell.row["bits"]) | made | first


def earlier(file: Path, cells: Sequence[Cell], work: Path) -> dict[str, dict[str, Any]]:
    """Of a `cells.json`, the cells that the table would make in the same way today: same recipe and teacher, and same first weights where there are any."""
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    weights, wanted = weights_of(work / "teacher"), {cell.name: cell for cell in cells}
    files = {student: start_file(student, work) for student in starting()}
    starts = {student: digest(start) for student, start in files.items() if start.is_file()}
    return {
        name: numbers
        for name, numbers in found.items()
        if numbers.get("teacher_sha256") == weights
        and (cell := wanted.get(name))
        and numbers.get("digest") == cell.digest()
        and numbers.get("start_sha256") == starts.get(cell.student, numbers.get("start_sha256"))
    }


def weights_of(teacher: Path) -> str:
    """The hash of a teacher's weights, as its training stated it."""
    return str(json.loads((teacher / "training.json").read_text(encoding="utf-8"))["weights_sha256"])


def _row(members: Sequence[tuple[Cell, dict[str, Any]]]) -> dict[str, Any]:
    cell, numbers = members[0][0], [found for _, found in members]
    averages = [found["average"] for found in numbers]
    keys = [*_accuracy_keys(), "megabytes", "train_seconds"]
    return {
        "method": cell.row["title"],
        "student": cell.student,
        "bits": cell.row["bits"],
        **{key: round(statistics.mean(found[key] for found in numbers), 4) for key in keys},
        "spread": round(statistics.stdev(averages), 4) if len(averages) > 1 else None,
        "seeds": len(members),
    }


def _teacher_row(seen: dict[str, float], folder: Path) -> dict[str, Any]:
    stated = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return {
        "method": "teacher",
        "student": "-",
        "bits": 32,
        **{key: round(seen[key], 4) for key in _accuracy_keys()},
        "megabytes": round(_image_tower_bytes(folder / "open_clip_model.safetensors") / 1e6, 4),
        "train_seconds": stated["cpu_seconds"],
        "spread": None,
        "seeds": 1,
    }


def _accuracy_keys() -> list[str]:
    return [name + ending for ending in ("", "_balanced") for name in (*MODALITIES, "average")]


def _image_tower_bytes(weights: Path) -> int:
    """What the image tower takes in 32 bits; the header of a safetensors file names every tensor's shape."""
    with weights.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return sum(4 * math.prod(about["shape"]) for name, about in header.items() if name.startswith("visual."))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown, accuracies in per cent, balanced ones in brackets."""
    lines = ["| row | student | bits | depth | RGB | average | spread | seeds | MB | train s |", "|" + "---|" * 10]
    for row in rows:
        cells = [f"{100 * row[key]:.1f} ({100 * row[key + '_balanced']:.1f})" for key in (*MODALITIES, "average")]
        spread = "-" if row["spread"] is None else f"{100 * row['spread']:.1f}"
        after = [spread, str(row["seeds"]), f"{row['megabytes']:.2f}", f"{row['train_seconds']:.0f}"]
        lines.append(f"| {' | '.join([row['method'], row['student'], str(row['bits']), *cells, *after])} |")
    return "\n".join(lines) + "\n"
