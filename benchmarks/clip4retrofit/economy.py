"""What mixed precision, gradient checkpointing and accumulation take and give: EfficientNet-B3 at 224 pixels.

    python benchmarks/clip4retrofit/economy.py [--rounds 2] [--threads 2] [--work runs/economy] [--device cpu]

Every setting trains `economy.yaml` for a few steps of 16 images, each in a process of its own, settings in turn, in
rounds. Time is the median step after the first two; memory is the most that the process had resident (on a GPU: that
PyTorch's allocator had in use there, `device_peak_bytes` of the run's own record), above what it has with one image a step. All settings see the same
16 images in a step, so the losses of the first step stand beside them: they must agree but for batch norm's batches.
Writes `economy.json`; `economy-no-bf16.json` on a processor without instructions for bf16; `economy-<device>.json` for
another device than the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgefw.processor import instructions, lacks_bf16

HERE = Path(__file__).resolve().parent
BF16, CHECKPOINTING = "compute.precision=bf16", "train.distil.gradient_checkpointing=true"
QUARTERS = ("train.distil.batch=4", "train.distil.accumulate=4")
SETTINGS: dict[str, tuple[str, ...]] = {
    "one image": ("train.distil.batch=1",),
    "fp32": (),
    "bf16": (BF16,),
    "checkpointing": (CHECKPOINTING,),
    "accumulation 4 x 4": QUARTERS,
    "bf16 + checkpointing": (BF16, CHECKPOINTING),
    "bf16 + accumulation": (BF16, *QUARTERS),
    "all three": (BF16, CHECKPOINTING, *QUARTERS),
}
"""Name of a row -> what it changes in the recipe."""
WARM = 2


def main() -> None:
    arguments = _arguments()
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in SETTINGS}
    for number in range(arguments.rounds):
        for name, overrides in SETTINGS.items():
            seen[name].append(train(overrides, arguments))
            print(f"round {number + 1}, {name}: {json.dumps(seen[name][-1])}", flush=True)
    found = {"rows": rows(seen), "runs": seen, "machine": _machine(arguments)}
    (HERE / f"economy{_suffix(arguments.device)}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found["rows"]))


def _suffix(device: str) -> str:
    if device != "cpu":
        return f"-{device}"
    return "-no-bf16" if lacks_bf16() else ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2, help="how often every setting is run")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--work", type=Path, default=Path("runs/economy"), help="runs; removed one after the other")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser.parse_args()


def train(overrides: tuple[str, ...], arguments: argparse.Namespace) -> dict[str, Any]:
    """One run in a process of its own: seconds of its median step, its most memory in MB, its first loss."""
    folder = arguments.work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    with (arguments.work / "last.log").open("w") as log:
        compute = [f"compute.device={arguments.device}", f"compute.threads={arguments.threads}"]
        run = ["run", str(HERE / "economy.yaml"), *compute, *overrides]
        command = [sys.executable, "-m", "edgefw", *run, "--until", "train", "--out", str(folder)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{overrides}: the run failed, see {arguments.work / 'last.log'}")
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line for line in steps if "loss" in line and "step" in line]
    seconds = [later["seconds"] - earlier["seconds"] for earlier, later in pairwise(steps)]
    return {
        "step_seconds": round(statistics.median(seconds[WARM:]), 3),
        "peak_mb": round(peak_bytes(folder, arguments.device, usage.ru_maxrss * 1024) / 1e6),
        "first_loss": round(steps[0]["loss"], 5),
    }


def peak_bytes(run: Path, device: str, resident: int) -> int:
    """What counts as a run's memory: what its process had resident, on a GPU what its phase says of the device."""
    if device == "cpu":
        return resident
    (phase,) = json.loads((run / "train" / "result.json").read_text(encoding="utf-8"))["phases"]
    if "device_peak_bytes" not in phase:
        raise SystemExit(f"{run}: the phase says nothing of memory on its device. Was it trained on '{device}'?")
    found: int = phase["device_peak_bytes"]
    return found


def rows(seen: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row per setting: the median over rounds, and both figures against fp32."""
    middle = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in seen.items()
    }
    floor, plain = middle["one image"]["peak_mb"], middle["fp32"]
    return [
        {
            "setting": name,
            **values,
            "above_one_image_mb": values["peak_mb"] - floor,
            "memory_ratio": round((values["peak_mb"] - floor) / (plain["peak_mb"] - floor), 6),
            "time_ratio": round(values["step_seconds"] / plain["step_seconds"], 6),
        }
        for name, values in middle.items()
    ]


def table(found: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| setting | peak MB | above one image | ratio | s a step | ratio | first loss |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['setting']} | {row['peak_mb']:.0f} | {row['above_one_image_mb']:.0f} | {row['memory_ratio']:.2f} "
        f"| {row['step_seconds']:.2f} | {row['time_ratio']:.2f} | {row['first_loss']:.4f} |"
        for row in found
    ]
    return "\n".join(lines)


def _machine(arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    name = torch.cuda.get_device_name() if arguments.device == "cuda" else platform.machine()
    bf16 = sorted(instructions() & {"avx512_bf16", "amx_bf16"})
    return {"device": name, "bf16": bf16, "threads": arguments.threads, "torch": torch.__version__.split("+")[0]}


if __name__ == "__main__":
    main()
