"""What do students know that they were not taught? Held-out classes, another data set's photographs, drawn scenes.

    python benchmarks/edgevl/generalise.py --data ../shared/data/furniture-rgbd --cifar ../shared/data/cifar10

Two questions, each against the teacher, with the file that is deployed (float for stage 1, int8 for the others):

1. The trained students of the table (`run.py`; their cells are made if they are missing), unchanged, on other data:
   photographs and names of CIFAR-10, and the drawn scenes of `sample` in colour and in depth.
2. Students of stage 1 and stage 2 that never saw three of the twelve classes, neither in curation nor in training: how
   often are the test images of these classes recognised among all twelve, compared with the students that saw them?

The three classes are drawn with a seed. Results go to `generalisation.json`; what is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cells import HERE, RECIPE, Cell, cells
from halves import SEED, add_sample, halves, model_of, samples
from run import carry, environment_of

METHODS = ("stage-1", "stage-2", "best")
RETRAINED = ("stage-1", "stage-2")
SAMPLES = {"cifar10": 2000, "scenes": 480}


def main() -> None:
    arguments = _arguments()
    data, work = arguments.data.absolute(), arguments.work.absolute()
    environment = environment_of(data, work)
    subprocess.run(making(data, work), check=True)
    found = {
        "other data": {name: _elsewhere(name, arguments, environment) for name in SAMPLES},
        "held-out classes": _unseen(data, work, environment),
    }
    (HERE / "generalisation.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/furniture-rgbd"), help="furniture-rgbd")
    parser.add_argument("--cifar", type=Path, default=Path("../shared/data/cifar10"), help="cifar10 shards")
    parser.add_argument("--work", type=Path, default=Path("runs/edgevl"), help="teacher, cache and runs of run.py")
    return parser.parse_args()


def making(data: Path, work: Path) -> list[str]:
    """The command that makes the three cells here: a cell that only `cells.json` knows has no run to ask."""
    table = [sys.executable, str(HERE / "run.py"), "--data", str(data), "--work", str(work)]
    return [*table, "--only", *METHODS, "--students", "cnn", "--seeds", "1", "--own-runs"]


def _edgefw(environment: dict[str, str], *arguments: str) -> None:
    ended = subprocess.run([sys.executable, "-m", "edgefw", *arguments], env=environment, check=False)
    if ended.returncode not in (0, 1):
        raise SystemExit(f"edgefw {arguments[0]} ended with exit code {ended.returncode}")


def _elsewhere(name: str, arguments: argparse.Namespace, environment: dict[str, str]) -> dict[str, Any]:
    """Top-1 of the teacher and of each student's file on another data set, by modality."""
    runs = arguments.work.absolute()
    changes = [f"data={json.dumps(_data(name, arguments.cifar.absolute()))}", "verify.split=test"]
    changes += ["evaluate.labels=null", f"verify.samples={SAMPLES[name]}"]
    rows: dict[str, Any] = {}
    for method in METHODS:
        out = runs / "elsewhere" / f"{method}-{name}"
        if not (out / "result.json").is_file():
            out.parent.mkdir(parents=True, exist_ok=True)
            _edgefw(environment, "verify", str(runs / "cells-test" / f"{method}-cnn-1"), *changes, "--out", str(out))
        rows |= {("teacher" if model == "teacher" else method): top1 for model, top1 in _top1(out).items()}
    return {"samples": SAMPLES[name], "labels": len(_verified(out)["labels"]), "top1": rows}


def _data(name: str, cifar: Path) -> dict[str, Any]:
    if name == "scenes":
        return {"name": "sample", "train": 12, "val": 12, "test": SAMPLES[name], "size": 64}
    return {
        "name": "webdataset",
        "root": str(cifar),
        "shards": {"train": "train-000000.tar", "val": "train-000009.tar", "test": "test-{000000..000001}.tar"},
        "members": {"rgb": "jpg"},
        "label": "cls",
        "classes": "classes.txt",
        "licence": "none stated; research use",
    }


def _verified(run: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((run / "verify" / "result.json").read_text(encoding="utf-8"))
    return result


def _deployed(run: Path) -> str:
    """The file of a run that would go to the device: the int8 one where there is one."""
    files = _verified(run)["artefacts"]
    return str(next((file for file in files if file["precision"] != "fp32"), files[0])["name"])


def _top1(run: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for line in _verified(run)["evaluation"]:
        if line["metric"] == "top1" and line["model"] in ("teacher", _deployed(run)):
            found.setdefault(line["model"], {})[line["modality"]] = round(line["value"], 4)
    return found


def unseen_classes(data: Path) -> list[str]:
    """The three classes that are held out of training."""
    names = (data / "classes.txt").read_text(encoding="utf-8").split("\n")
    return sorted(random.Random(SEED).sample([name for name in names if name], 3))


def _unseen(data: Path, work: Path, environment: dict[str, str]) -> dict[str, Any]:
    names = unseen_classes(data)
    shard = _shard_without(names, data, work / "data")
    rows: dict[str, Any] = {}
    for cell in cells(RETRAINED, ["cnn"], [1]):
        out = work / "cells-unseen" / cell.name
        if not (out / "result.json").is_file():
            _train(cell, out, shard, environment)
        method, seen = cell.row["method"], work / "cells-test" / cell.name
        rows["teacher"] = _recall(seen, "teacher", names)
        rows[f"{method}, saw all classes"] = _recall(seen, _deployed(seen), names)
        rows[f"{method}, never saw these"] = _recall(out, _deployed(out), names)
    return {"classes": names, "recall among all 12": rows}


def _shard_without(names: Sequence[str], data: Path, out: Path) -> Path:
    """The students' half without the samples of some classes."""
    shard, mine = out / "distil-unseen.tar", set(halves(data)[1])
    if shard.is_file():
        return shard
    unfinished = shard.with_suffix(".partial")
    with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples(data, "train"):
            if model_of(sample) in mine and json.loads(sample["json"])["class"] not in names:
                add_sample(tar, sample)
    unfinished.replace(shard)
    return shard


def _train(cell: Cell, out: Path, shard: Path, environment: dict[str, str]) -> None:
    if cell.start and not out.exists():
        carry(out.with_name(cell.start), out)
    changes = [*cell.overrides(), f"data.shards.train={json.dumps(str(shard))}"]
    _edgefw(environment, "run", str(RECIPE), *changes, "--out", str(out), "--resume")


def _recall(run: Path, model: str, names: Sequence[str]) -> dict[str, float]:
    """The mean of the recalls of some classes, by modality; the model chooses among all labels."""
    labels = list(_verified(run)["labels"])
    with np.load(run / "verify" / "predictions.npz") as stored:
        truth = stored["labels"]
        return {
            modality: round(float(np.mean(list(_recalls(truth, stored[f"{model}/{modality}"], labels, names)))), 4)
            for modality in ("depth", "rgb")
        }


def _recalls(truth: np.ndarray, said: np.ndarray, labels: Sequence[str], names: Sequence[str]) -> Iterator[float]:
    for name in names:
        own = truth == labels.index(name)
        yield float((said[own] == truth[own]).mean())


if __name__ == "__main__":
    main()
