"""Would right pairs turn the order? Stage 2 again, with the class of each curated sample in place of its pseudo-label.

    python benchmarks/edgevl/oracle.py --data ../shared/data/furniture-rgbd [--work runs/edgevl] [--seeds 1 2 3]

This is no method: it looks at classes of the training half, which no row of the table does. Everything else is that of the
rows `stage-2` and `triplets` of rows.yaml: the same stage 1, samples, steps and losses. So the difference to those rows is what wrong
pairs cost, and what is missing to stage 1 after it is not the pairs' fault. Starts from the table's finished runs of
stage 1; what is finished is not run again. Writes `oracle.json`: by method, each seed's figures with true pairs, beside the
table's own with pseudo-labels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from cells import HERE, RECIPE, Cell, cells
from collect import measured
from halves import samples
from run import carry, environment_of

from edgefw.stages.kept import FILE, Kept, read_kept, write_kept

METHODS = ("stage-2", "triplets")


def main() -> None:
    arguments = _arguments()
    data, work = arguments.data.absolute(), arguments.work.absolute()
    classes = {sample[""].decode(): json.loads(sample["json"])["class"] for sample in samples(data, "train")}
    found: dict[str, Any] = {}
    for cell in cells(METHODS, ["cnn"], arguments.seeds):
        run = work / "cells-oracle" / cell.name
        if not (run / "result.json").is_file():
            _train(cell, run, classes, environment_of(data, work))
        pairs = {"true classes": run, "pseudo-labels": work / "cells-test" / cell.name}
        for name, folder in pairs.items():
            row = measured(folder, cell.row["bits"])
            del row["teacher"]
            found.setdefault(cell.row["method"], {}).setdefault(name, {})[str(cell.seed)] = row
    document = {"means": _means(found), "runs": found}
    (HERE / "oracle.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document["means"], indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/furniture-rgbd"), help="furniture-rgbd")
    parser.add_argument("--work", type=Path, default=Path("runs/edgevl"), help="teacher, cache and runs of run.py")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    return parser.parse_args()


def _train(cell: Cell, run: Path, classes: Mapping[str, str], environment: dict[str, str]) -> None:
    """The cell's run, from stage 1 with other labels."""
    if not run.exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        carry(run.parent.with_name("cells-test") / str(cell.start), run)
        put_classes(run / "curate", classes)
    command = [sys.executable, "-m", "edgefw", "run", str(RECIPE), *cell.overrides(), "--out", str(run), "--resume"]
    if subprocess.run(command, env=environment, check=False).returncode not in (0, 1):
        raise SystemExit(f"{cell.name} failed")


def put_classes(curated: Path, classes: Mapping[str, str]) -> None:
    """Replace the pseudo-labels in a curated folder by numbers of classes; the stage's record of sizes follows."""
    rows = read_kept(curated)
    names = sorted(set(classes.values()))
    numbers = [names.index(classes[sample.split("/")[-1]]) for sample in rows.ids]
    write_kept(curated, Kept(ids=rows.ids, label=np.array(numbers), confidence=rows.confidence, kept=rows.kept))
    record = json.loads((curated / "stage.json").read_text(encoding="utf-8"))
    record["files"][FILE] = (curated / FILE).stat().st_size
    (curated / "stage.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _means(found: dict[str, Any]) -> dict[str, Any]:
    keys = ("depth", "rgb", "average", "average_balanced")
    return {
        method: {
            name: {key: round(statistics.mean(row[key] for row in seeds.values()), 4) for key in keys}
            for name, seeds in pairs.items()
        }
        for method, pairs in found.items()
    }


if __name__ == "__main__":
    main()
