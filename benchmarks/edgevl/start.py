"""Train what the table's transformers start from, on photographs of CIFAR-10, and write their weights.

    python benchmarks/edgevl/start.py --cifar ../shared/data/cifar10 [--work runs/edgevl] [--students vit dat]

`start.yaml` is the recipe. The weights of the backbone, without the head, go to `start/STUDENT.safetensors` of the work folder, and `start.json` beside
this file states their hash, what the run reached, and its processor time. It is to the transformers what ImageNet is to the CNN: no image of furniture, no depth.
What is finished is not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from cells import HERE

sys.path.insert(0, str(HERE.parent))
from running import edgefw, machine, quiet_environment

FOLDER = "start"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar", type=Path, default=Path("../shared/data/cifar10"), help="cifar10 shards")
    parser.add_argument("--work", type=Path, default=Path("runs/edgevl"), help="work folder of run.py")
    parser.add_argument("--students", nargs="+", choices=starting(), default=list(starting()), help="default all")
    arguments = parser.parse_args()
    for student in arguments.students:
        write_start(student, arguments.cifar.absolute(), arguments.work.absolute())


def starting() -> dict[str, dict[str, Any]]:
    """The students of rows.yaml that start from weights of this script, without them."""
    pieces = {name: own.get("student", {}) for name, own in _table()["students"].items()}
    return {
        name: {key: value for key, value in piece.items() if key != "weights"}
        for name, piece in pieces.items()
        if f"/{FOLDER}/" in piece.get("weights", "")
    }


def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load((HERE / "rows.yaml").read_text(encoding="utf-8"))
    return table


def start_file(student: str, work: Path) -> Path:
    return work / FOLDER / f"{student}.safetensors"


def write_start(student: str, cifar: Path, work: Path) -> Path:
    """Train one student's start, once; its file.

    Raises:
        SystemExit: if the run fails.
    """
    target, run = start_file(student, work), work / FOLDER / student
    if target.is_file():
        return target
    environment = quiet_environment({"EDGEVL_CIFAR": cifar, "EDGEFW_CACHE": work / "cache"})
    piece = f"student={json.dumps(starting()[student])}"
    if edgefw(environment, "run", str(HERE / "start.yaml"), piece, "--out", str(run), "--resume").returncode not in (
        0,
        1,
    ):
        raise SystemExit(f"{run}: the run failed. Start again, or see its messages")
    unfinished = target.with_suffix(".partial")
    save_backbone(run / "train" / "distil" / "student.safetensors", unfinished)
    _state(student, run, unfinished)
    unfinished.replace(target)
    return target


def save_backbone(trained: Path, target: Path) -> None:
    """The tensors of a student's trunk under the names that option `weights` of its technique reads."""
    from safetensors.torch import load_file, save_file

    own = {
        name.removeprefix("trunk."): values for name, values in load_file(trained).items() if name.startswith("trunk.")
    }
    is_timm = "backbone.patch_embed.proj.weight" in own
    save_file({name.removeprefix("backbone.") if is_timm else name: values for name, values in own.items()}, target)


def digest(file: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _state(student: str, run: Path, weights: Path) -> None:
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    top1 = {line["model"]: round(line["value"], 4) for line in result["evaluation"] if line["metric"] == "top1"}
    phase = json.loads((run / "train" / "distil" / "phase.json").read_text(encoding="utf-8"))
    file = HERE / "start.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found[student] = {
        "sha256": digest(weights),
        "cifar10_top1": {"teacher": top1["teacher"], "student": top1["student"]},
        "train_seconds": phase["result"]["cpu_seconds"],
        "machine": machine(),
    }
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
