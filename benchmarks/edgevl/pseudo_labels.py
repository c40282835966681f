"""How often are the triplets of stage 2 right? Pairs of curated samples by pseudo-label against pairs by class.

    python benchmarks/edgevl/pseudo_labels.py --data ../shared/data/furniture-rgbd [--run runs/edgevl/cells-test/stage-1-cnn-1]

No training sees a class; this script does, after the fact, to explain a figure. A positive is two samples of one pseudo-label,
a negative two of different ones, as `semi-hard-triplet` draws them before it looks at distances. `pseudo_labels.json` holds what
is printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
from cells import HERE
from collect import refuse_missing
from halves import samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/furniture-rgbd"), help="furniture-rgbd")
    parser.add_argument("--run", type=Path, default=Path("runs/edgevl/cells-test/stage-1-cnn-1"), help="a curated run")
    arguments = parser.parse_args()
    refuse_missing([arguments.run])
    found = pairs(arguments.run / "curate" / "kept.parquet", arguments.data)
    (HERE / "pseudo_labels.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def pairs(kept: Path, data: Path) -> dict[str, float]:
    """Shares of the positive and of the negative pairs of kept samples that are of one class, or of one model."""
    about = {sample[""].decode(): json.loads(sample["json"]) for sample in samples(data, "train")}
    rows = [row for row in pyarrow.parquet.read_table(kept).to_pylist() if row["kept"]]
    stated = [about[row["id"].split("/")[-1]] for row in rows]
    other = ~np.eye(len(rows), dtype=bool)
    alike = _equal([row["label"] for row in rows])
    of_class, of_model = _equal([one["class"] for one in stated]), _equal([one["model_id"] for one in stated])
    return {
        "samples": len(rows),
        "pseudo_labels": len({row["label"] for row in rows}),
        "positives_of_one_class": round(float(of_class[alike & other].mean()), 4),
        "positives_of_one_model": round(float(of_model[alike & other].mean()), 4),
        "negatives_of_one_class": round(float(of_class[~alike].mean()), 4),
        "pairs_of_one_class_that_are_negatives": round(float((~alike)[of_class & other].mean()), 4),
    }


def _equal(values: list[object]) -> np.ndarray:
    numbers = np.unique([str(value) for value in values], return_inverse=True)[1]
    return np.equal.outer(numbers, numbers)


if __name__ == "__main__":
    main()
