"""Five networks in every backend that runs here: agreement with torch, latency, throughput, size, memory, start.

    pip install "edgefw[train,openvino,ncnn,executorch,litert]" && edgefw doctor --make litert
    python benchmarks/backends/speed.py --data ../shared/data --prepare                # runs, files and agreement
    python benchmarks/backends/speed.py --data ../shared/data [--models NAME ...]      # times them

Each network is a run of `speed.yaml` (one training step); its artefacts, and the same network used by hand (by_hand.py), are opened in a process
each, which are told in turn to encode a few images: a busy machine is busy for all of them alike, and a waiting process takes no time. Images are 256
photographs of the test split of CIFAR-10, prepared as the run's bundle says.

What is made is not made again, and a network that was timed is not timed again without `--again`: `--models` measures a part of them, and
`speed.json` keeps the others. It has the rows (speed_timing.py), and per network how many rounds, on what machine, and which backends were left out and why;
`speed.md` beside it is the same as a table. Exit code 1 if a backend's median is more than 5 % behind that of the fastest way by hand (of a second, longer
look where the first was), 2 if something could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from speed_process import THREADS
from speed_runs import OWN_ENVIRONMENT, left_out, prepared
from speed_table import page
from speed_timing import PAUSE, measured

from edgefw.own_environment import own_environment

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from running import machine

MODELS = (
    "tf_efficientnet_lite0",
    "mobilenetv4_conv_small",
    "efficientnet_b3",
    "vit_small_patch16_224",
    "swin_tiny_patch4_window7_224",
)
PACKAGES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "ncnn": "ncnn",
    "litert": "ai_edge_litert",
    "executorch": "executorch",
    "aoti": "torch",
}
"""Backend -> the module that it needs; those that compile for minutes come last, so that a refusal comes before them."""
BEHIND = 1.05


def main() -> None:
    """Prepare, or time and write."""
    arguments = _arguments()
    backends = [name for name in arguments.backends if runnable(name)]
    if missing := [name for name in arguments.backends if name not in backends]:
        print(f"not installed here, so not measured: {', '.join(missing)}")
    if arguments.prepare:
        for model in arguments.models:
            prepared(model, backends, arguments)
        return
    found = _read(arguments.out)
    for model in arguments.models:
        if model in found["networks"] and not arguments.again:
            print(f"{model}: is in {arguments.out.name} already; --again times it once more")
            continue
        _add(found, model, backends, arguments)
        found["met"] = met(found["rows"])
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        arguments.out.with_suffix(".md").write_text(page(found, BEHIND), encoding="utf-8")
    print(page(found, BEHIND))
    sys.exit(code(found, arguments.models))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds cifar10")
    parser.add_argument("--work", type=Path, default=Path("runs/backend-speed"), help="runs and files")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="timm names")
    parser.add_argument(
        "--backends", nargs="+", default=list(PACKAGES), choices=list(PACKAGES), help="if they are here"
    )
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--rounds", type=int, default=30, help="turns of five images that each model has")
    parser.add_argument("--pause", type=float, default=PAUSE, help="seconds before a turn (speed_timing.py says why)")
    parser.add_argument("--prepare", action="store_true", help="make runs, files and agreement, and stop")
    parser.add_argument("--again", action="store_true", help="time networks that were timed already")
    parser.add_argument("--out", type=Path, default=HERE / "speed.json")
    return parser.parse_args()


def runnable(backend: str) -> bool:
    """Whether this machine compiles for a backend and runs it."""
    if not find_spec(PACKAGES[backend]):
        return False
    return backend not in OWN_ENVIRONMENT or own_environment(backend).ready


def met(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether no backend is too far behind the best use of its runtime."""
    return all(row["of_best_by_hand"] <= BEHIND for row in rows if row["of_best_by_hand"] is not None)


def code(found: dict[str, Any], models: Sequence[str]) -> int:
    """Exit code: 2 where a network has no row, or a row nothing by hand beside it; 1 where a backend is too far behind."""
    rows = [row for row in found["rows"] if row["model"] in models]
    if {row["model"] for row in rows} != set(models) or any(row["of_best_by_hand"] is None for row in rows):
        return 2
    return 0 if met(rows) else 1


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {"networks": {}, "rows": []}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _add(found: dict[str, Any], model: str, backends: Sequence[str], arguments: argparse.Namespace) -> None:
    """Time one network, and put its rows in the place of older ones."""
    run = prepared(model, backends, arguments)
    before = os.getloadavg()[0]
    rows = measured(model, run, backends, arguments.rounds, BEHIND, arguments.pause)
    versions = {name: version(PACKAGES[name].replace("_", "-")) for name in backends}
    where = machine() | {"threads": THREADS, "python": platform.python_version()} | versions
    about = {
        "rounds": arguments.rounds,
        "size": arguments.size,
        "pause_s": arguments.pause,
        "load_before": round(before, 2),
        "machine": where,
    }
    found["networks"][model] = about | {"left_out": left_out(run)}
    found["rows"] = [row for row in found["rows"] if row["model"] != model] + rows


if __name__ == "__main__":
    main()
