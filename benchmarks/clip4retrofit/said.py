"""Which classes do students say? Counts of answers on the clean test images, and each class's recall: a rise of top-1 may be one large class.

    python benchmarks/clip4retrofit/said.py [--work runs/clip4retrofit] [--set furniture-rgbd] [--rows both changed ...] [--seeds 1 2 3]

Needs the cells and the pictures that run.py left in its work folder. Writes `said.json`, and prints a table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from robustness import BATCH, CLEAN, HeldOut
from sets import HERE

from edgefw.evaluation import predictions, zero_shot_scores
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.opening import Opener, single_input

ROWS = ("both", "changed", "adversarial", "consistency", "adversarial-light", "consistency-light")


def main() -> None:
    """Ask every student that is there."""
    arguments = _arguments()
    (folder,) = (arguments.work / "pictures").glob(f"{arguments.set}-test-*")
    held = HeldOut(folder=folder, labels=np.load(folder / "labels.npy"), rows=np.load(folder / "rows.npy"))
    cells = [(row, seed) for row in arguments.rows for seed in arguments.seeds]
    bundles = {
        cell: arguments.work / "cells-test" / f"{arguments.set}-{cell[0]}-{cell[1]}" / "bundle" for cell in cells
    }
    rows = [{"row": row, "seed": seed, **said(path, held)} for (row, seed), path in bundles.items() if path.is_dir()]
    names = rows[0].pop("names")
    for own in rows[1:]:
        own.pop("names")
    found = {
        "set": arguments.set,
        "classes": names,
        "images": np.bincount(held.labels, minlength=len(names)).tolist(),
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


def said(bundle: Path, held: HeldOut) -> dict[str, Any]:
    """Names of the classes, how often the float file of a run says each of them, and how many of each it finds."""
    with open_bundle(bundle) as opened:
        entry, opener, pack = opened.artefact(None, "rgb"), Opener(opened), opened.label_pack()
        runner, prepare, name = opener.runner(entry, threads=1), opener.preprocessing("rgb"), single_input(entry)
        texts = np.concatenate([label.vectors for label in pack.labels])
        pictures = held.pictures(CLEAN)
        parts = (pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH))
        embedded = np.concatenate([runner.run({name: np.stack([prepare(one) for one in part])}) for part in parts])
    answers = predictions(zero_shot_scores(embedded, texts))
    return {"names": list(pack.names), **counted(answers, held.labels, len(pack.names))}


def counted(answers: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, Any]:
    """How often each class is said, its recall, and how many classes are never said; `answers` and `labels` (N,) are places of classes."""
    counts = np.bincount(answers, minlength=classes)
    right = np.bincount(labels[answers == labels], minlength=classes)
    recalls = right / np.maximum(np.bincount(labels, minlength=classes), 1)
    return {"said": counts.tolist(), "recall": recalls.round(4).tolist(), "never_said": int((counts == 0).sum())}


def table(found: dict[str, Any]) -> str:
    """How often a class is said, a row per student, in Markdown; the first row is what there is."""
    lines = [
        f"| row | seed | never said | {' | '.join(found['classes'])} |",
        "|" + "---|" * (3 + len(found["classes"])),
    ]
    lines.append(f"| there are | | | {' | '.join(map(str, found['images']))} |")
    for own in found["rows"]:
        lines.append(f"| {own['row']} | {own['seed']} | {own['never_said']} | {' | '.join(map(str, own['said']))} |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/clip4retrofit"), help="that of run.py")
    parser.add_argument("--set", default="furniture-rgbd")
    parser.add_argument("--rows", nargs="+", default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=HERE / "said.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
