"""Which classes does curation leave a student? Samples kept of each class by both rules, and what the students then know of it.

    python benchmarks/edgevl/kept_classes.py [--work runs/edgevl] [--seeds 1 2 3]

Of the cells `stage-1` (the surest half of all samples) and `each-stage-1` (the surest half of each label's samples) of the CNN, which `run.py` finished:

    samples        of the students' half
    kept           of them, by the rule
    recall         of the class on the test split, per cent, the mean over both sensors and the seeds
    teacher_rgb    the teacher's recall of it in RGB, per cent

No training sees a class; this script does, after the fact, to explain a figure. `kept_classes.json` holds what is printed.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from cells import HERE
from collect import refuse_missing
from halves import SHARD, shard_samples

METHODS = {"of all": "stage-1", "of each label": "each-stage-1"}
SENSORS = ("rgb", "depth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/edgevl"), help="runs of run.py")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="these seeds")
    arguments = parser.parse_args()
    shard, runs = arguments.work / "data" / SHARD, arguments.work / "cells-test"
    refuse_missing([runs / f"{name}-cnn-{seed}" for name in METHODS.values() for seed in arguments.seeds])
    classes = {sample[""].decode(): json.loads(sample["json"])["class"] for sample in shard_samples(shard)}
    cells = {rule: [runs / f"{name}-cnn-{seed}" for seed in arguments.seeds] for rule, name in METHODS.items()}
    found = rows(classes, cells)
    (HERE / "kept_classes.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(json.dumps(row) for row in found))


def rows(classes: dict[str, str], cells: dict[str, list[Path]]) -> list[dict[str, Any]]:
    """A row per class; `cells` are the finished runs of each rule, `classes` those of the students' samples by key."""
    all_of = Counter(classes.values())
    kept = {rule: Counter(classes[key] for key in kept_keys(runs[0])) for rule, runs in cells.items()}
    recall = {rule: np.mean([recalls(run) for run in runs], axis=0) for rule, runs in cells.items()}
    first = next(iter(cells.values()))[0]
    teacher = recalls(first, "teacher", SENSORS[:1])
    return [
        {
            "class": name,
            "samples": all_of[name],
            "kept": {rule: kept[rule][name] for rule in cells},
            "recall": {rule: _per_cent(recall[rule][at]) for rule in cells},
            "teacher_rgb": _per_cent(teacher[at]),
        }
        for at, name in enumerate(_verified(first)["labels"])
    ]


def kept_keys(run: Path) -> list[str]:
    """Keys of the samples that a run's curation kept."""
    table = pyarrow.parquet.read_table(run / "curate" / "kept.parquet").to_pylist()
    return [row["id"].rpartition("/")[2] for row in table if row["kept"]]


def recalls(run: Path, model: str = "onnxruntime-fp32", sensors: tuple[str, ...] = SENSORS) -> np.ndarray:
    """(classes,) share of each class's held-out samples that a model of a run names, the mean over sensors."""
    with np.load(run / "verify" / "predictions.npz") as stored:
        truth = stored["labels"]
        right = np.mean([stored[f"{model}/{sensor}"] == truth for sensor in sensors], axis=0)
    return np.array([right[truth == at].mean() for at in range(len(_verified(run)["labels"]))])


def _verified(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "verify" / "result.json").read_text(encoding="utf-8"))
    return found


def _per_cent(share: float) -> float:
    return round(100 * float(share), 1)


if __name__ == "__main__":
    main()
