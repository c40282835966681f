"""CPU time per optimiser step: edgefw's engine against a plain PyTorch loop and torchdistill, doing the same work.

Usage: python benchmarks/overhead/run.py [--blocks N] [--out results.json]

Blocks of the three loops follow each other in turn, in an order that rotates, in one process on one thread. The figure
of a block is the CPU time of its best ten steps after a warm-up: a neighbour on the machine can only add to it. Exit code 1 if a limit is missed: 150 us per step on the toy, a ratio of 1.05 on the real job, loss curves
equal to 1e-5.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
import warnings
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from job import REAL, TOY, Job, Memory
from loops import LOOPS

TOY_LIMIT_US, REAL_LIMIT, CURVE_LIMIT = 150.0, 1.05, 1e-5


def block(job: Job, name: str, data: Memory) -> tuple[float, list[float]]:
    """Seconds of CPU per step in the best ten steps of a block, and the losses at every tenth step."""
    times: dict[int, float] = {}
    losses = LOOPS[name](job, data, lambda step: times.setdefault(step, time.process_time()))
    steps = [step for step in sorted(times) if step >= job.warm]
    return min((times[b] - times[a]) / (b - a) for a, b in pairwise(steps)), losses


def measure(job: Job, blocks: int) -> dict[str, object]:
    """Blocks of all loops in turn."""
    data = Memory(job)
    seconds: dict[str, list[float]] = {name: [] for name in LOOPS}
    curves: dict[str, list[float]] = {}
    names = list(LOOPS)
    for name in names:
        block(job, name, data)  # what is imported or compiled at first use
    for number in range(blocks):
        for name in names[number % 3 :] + names[: number % 3]:
            found, curves[name] = block(job, name, data)
            seconds[name].append(found)
            print(f"{job.name} {number + 1}/{blocks} {name}: {found * 1e6:.1f} us per step", flush=True)
    return {
        "us_per_step": {name: [round(value * 1e6, 2) for value in values] for name, values in seconds.items()},
        "median_us": {name: round(statistics.median(values) * 1e6, 2) for name, values in seconds.items()},
        "curve": curves["plain"],
        "curve_difference": {name: max(abs(a - b) for a, b in zip(curves["plain"], curves[name])) for name in names},
    }


def paired(result: dict[str, object], name: str) -> dict[str, float]:
    """A loop against the plain one: median over blocks of difference and ratio."""
    times = result["us_per_step"]
    pairs = list(zip(times[name], times["plain"]))
    return {
        "extra_us": round(statistics.median(one - plain for one, plain in pairs), 2),
        "ratio": round(statistics.median(one / plain for one, plain in pairs), 4),
    }


def main() -> int:
    """Measure, print, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=9, help="blocks per loop")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results: dict[str, object] = {
        "machine": {"python": platform.python_version(), "machine": platform.machine(), "threads": 1},
        "versions": {name: version(name) for name in ("torch", "accelerate", "torchdistill", "timm")},
        "blocks": options.blocks,
    }
    good = True
    for job in (TOY, REAL):
        found = measure(job, options.blocks)
        found["against_plain"] = {name: paired(found, name) for name in ("torchdistill", "edgefw")}
        results[job.name] = found
        print(job.name, found["median_us"], found["against_plain"], found["curve_difference"])
        good &= max(found["curve_difference"].values()) <= CURVE_LIMIT
    good &= results["toy"]["against_plain"]["edgefw"]["extra_us"] <= TOY_LIMIT_US
    good &= results["real"]["against_plain"]["edgefw"]["ratio"] <= REAL_LIMIT
    results["within_limits"] = good
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
