"""Does the exported int8 file say what the network said that was trained under int8? Four students, one table.

    python benchmarks/qat_parity/run.py [--work runs/qat-parity] [--only efficientnet_b0 dat-t] [--threads 1]

Per student two runs of `edgefw run parity.yaml`: `distil` alone (its float file is the yardstick of size and latency), and
`distil` with `round`, which goes on from the first run's weights. What is finished is not run again. Figures of the
comparison are those of `verify`: the file in onnxruntime against the fake-quantised network in PyTorch, on 256 held-out
scenes of each sensor. The two files' latencies are then taken in one process, in turn. Exit code 1 if a limit is missed: mean
cosine 0.999, top-1 agreement 0.99 for either sensor, size 0.30 of float, any batch.
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
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from edgefw.runtime.integer_products import exact_session

HERE = Path(__file__).resolve().parent
STUDENTS: dict[str, dict[str, Any]] = {
    "efficientnet_b0": {"name": "timm", "model": "efficientnet_b0"},
    "vit_small_patch16_224": {"name": "timm", "model": "vit_small_patch16_224"},
    "swin_tiny_patch4_window7_224": {"name": "timm", "model": "swin_tiny_patch4_window7_224"},
    "dat-t": {"name": "dat", "variant": "dat-t"},
}
RATES = {"efficientnet_b0": 4e-3, "vit_small_patch16_224": 1.5e-4, "swin_tiny_patch4_window7_224": 2e-4, "dat-t": 2e-4}
"""Peak learning rate of the float phase: that of the quickstart's network scaled to the batch, and a transformer's."""
COSINE, AGREEMENT, SIZE = 0.999, 0.99, 0.30
ROUNDS, CALLS = 12, 10


def main() -> None:
    arguments = _arguments()
    rows = []
    for name in arguments.only or STUDENTS:
        overrides = [
            f"student={json.dumps(STUDENTS[name] | {'size': arguments.size, 'head': {'name': 'linear-norm'}})}",
            f"train.distil.optimiser.lr={RATES[name]}",
        ]
        whole = arguments.work / f"{name}-int8"
        cache = arguments.work.absolute() / f"{name}-fp32" / "cache"  # of both: the scenes are the same files
        plain = _run(arguments, arguments.work / f"{name}-fp32", [*overrides, "train.round=null"], cache)
        if not (whole / "result.json").is_file():
            _carry(arguments.work / f"{name}-fp32", whole)
        rows.append(_row(name, plain, _run(arguments, whole, overrides, cache)))
        print(json.dumps(rows[-1]), flush=True)
        _write(_with_earlier(rows, arguments.out), arguments)
    sys.exit(0 if all(row["met"] for row in rows) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/qat-parity"), help="where the runs go")
    parser.add_argument("--only", nargs="+", choices=STUDENTS, default=[], help="these students; default all")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, out: Path, overrides: list[str], cache: Path) -> Path:
    """A finished run; a budget that was not met is a figure, not an error."""
    own = {"OMP_NUM_THREADS": str(arguments.threads), "EDGEFW_CACHE": str(cache)}
    environment = os.environ | own | {"EDGEFW_PLUGINS": "", "HF_HUB_OFFLINE": "1"}
    recipe = str(HERE / "parity.yaml")
    command = [sys.executable, "-m", "edgefw", "run", recipe, *overrides, "--out", str(out), "--resume"]
    code = subprocess.run(command, env=environment, check=False).returncode
    if code not in (0, 1) or not (out / "result.json").is_file():
        raise SystemExit(f"{out}: the run ended with exit code {code}.")
    return out


def _carry(start: Path, target: Path) -> None:
    """A copy of what training of the float run left, so that its phase is found finished."""
    target.mkdir(parents=True, exist_ok=True)
    for part in ("run.json", "curate", "train"):
        source = start / part
        if source.is_dir():
            shutil.copytree(source, target / part, dirs_exist_ok=True)
        elif source.is_file():
            shutil.copyfile(source, target / part)


def _row(name: str, plain: Path, whole: Path) -> dict[str, Any]:
    one, other = (json.loads((run / "result.json").read_text(encoding="utf-8")) for run in (plain, whole))
    fp32 = next(file for file in one["artefacts"] if file["precision"] == "fp32")
    int8 = next(file for file in other["artefacts"] if file["precision"] == "int8-qat")
    times = _latencies([plain / fp32["path"], whole / int8["path"]])
    share = int8["bytes"] / fp32["bytes"]
    sensors = int8["modalities"]
    met = share <= SIZE and all(
        numbers["cosine_mean"] >= COSINE and numbers["top1_agreement"] >= AGREEMENT for numbers in sensors.values()
    )
    return {
        "student": name,
        "met": met,
        **{
            f"{what}_{sensor}": round(numbers[what], 6)
            for sensor, numbers in sensors.items()
            for what in ("cosine_mean", "cosine_min", "top1_agreement")
        },
        "samples": {sensor: numbers["n"] for sensor, numbers in sensors.items()},
        **{f"fp32_{sensor}": _top1(one, fp32["name"], sensor) for sensor in sensors},
        **{f"int8_{sensor}": _top1(other, int8["name"], sensor) for sensor in sensors},
        "fp32_megabytes": round(fp32["bytes"] / 1e6, 3),
        "int8_megabytes": round(int8["bytes"] / 1e6, 3),
        "size_share": round(share, 4),
        "fp32_ms": round(times[0], 3),
        "int8_ms": round(times[1], 3),
        "latency_share": round(times[1] / times[0], 3),
    }


def _top1(result: dict[str, Any], model: str, sensor: str) -> float:
    found = [
        line["value"]
        for line in result["evaluation"]
        if (line["model"], line["modality"], line["metric"]) == (model, sensor, "top1")
    ]
    return round(found[0], 4)


def _latencies(files: list[Path]) -> list[float]:
    """Median milliseconds of a call with one image, of each file; blocks of calls take turns. Batch 1 and 3 must run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [exact_session(str(f), options) for f in files]
    entry = sessions[0].get_inputs()[0]
    side = int(entry.shape[-1])
    images = np.random.default_rng(0).normal(size=(3, int(entry.shape[1]), side, side)).astype(np.float32)
    times: list[list[float]] = [[] for _ in files]
    for session in sessions:
        assert session.run(None, {session.get_inputs()[0].name: images})[0].shape[0] == len(images)
    for _ in range(ROUNDS):
        for at, session in enumerate(sessions):
            for _ in range(CALLS):
                started = time.perf_counter()
                session.run(None, {session.get_inputs()[0].name: images[:1]})
                times[at].append(1e3 * (time.perf_counter() - started))
    return [statistics.median(found) for found in times]


def _with_earlier(rows: list[dict[str, Any]], out: Path) -> list[dict[str, Any]]:
    """Also the rows that the file holds of students that were not asked for now, in the order of `STUDENTS`."""
    earlier = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.is_file() else []
    found = {row["student"]: row for row in [*earlier, *rows]}
    return [found[name] for name in STUDENTS if name in found]


def _write(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    machine = {
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "threads": arguments.threads,
        "size": arguments.size,
    }
    arguments.out.write_text(json.dumps({"rows": rows, "machine": machine}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
