"""CPU time per optimiser step: edgefw's engine against a plain PyTorch loop and torchdistill, doing the same work.

Usage: python benchmarks/overhead/run.py [--scale X] [--out results.json]

Blocks of the three loops follow each other in turn, in an order that rotates, in one process on one thread. A loop's
figure is the CPU time of its best ten consecutive steps after a warm-up, over all blocks: a neighbour on the machine
can only add to it. Exit code 1 if a limit is missed: 150 us per step on the toy, a ratio of 1.05 on the real job, loss curves
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
from typing import Any

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


def measure(job: Job, blocks: int) -> dict[str, Any]:
    """Blocks of all loops in turn, and each loop's best against the plain one's."""
    data = Memory(job)
    seconds: dict[str, list[float]] = {name: [] for name in LOOPS}
    curves: dict[str, list[float]] = {}
    names = list(LOOPS)
    for name in names:
        block(job, name, data)  # what is imported or compiled at first use
    for number in range(blocks):
        for name in names[number % 3 :] + names[: number % 3]:
            found, curves[name] = block(job, name, data)
            seconds[name].append(found * 1e6)
            print(f"{job.name} {number + 1}/{blocks} {name}: {found * 1e6:.1f} us per step", flush=True)
    best = {name: min(values) for name, values in seconds.items()}
    return {
        "best_us": {name: round(value, 1) for name, value in best.items()},
        "extra_us": {name: round(value - best["plain"], 1) for name, value in best.items()},
        "ratio": {name: round(value / best["plain"], 4) for name, value in best.items()},
        "median_us": {name: round(statistics.median(values), 1) for name, values in seconds.items()},
        "curve_difference": {name: max(abs(a - b) for a, b in zip(curves["plain"], curves[name])) for name in names},
        "curve": curves["plain"],
        "blocks_us": {name: [round(value, 1) for value in values] for name, values in seconds.items()},
    }


def main() -> int:
    """Measure, print, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="times as many blocks; small ones are for trying out")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = {job.name: measure(job, max(1, round(job.blocks * options.scale))) for job in (TOY, REAL)}
    for name, result in found.items():
        print(name, {key: result[key] for key in ("best_us", "extra_us", "ratio", "curve_difference")})
    limits = {
        f"toy: at most {TOY_LIMIT_US} us more than plain": found["toy"]["extra_us"]["edgefw"] <= TOY_LIMIT_US,
        f"real: at most {REAL_LIMIT} x plain": found["real"]["ratio"]["edgefw"] <= REAL_LIMIT,
        f"curves equal to {CURVE_LIMIT}": all(
            max(result["curve_difference"].values()) <= CURVE_LIMIT for result in found.values()
        ),
    }
    document = {
        "machine": {"python": platform.python_version(), "machine": platform.machine(), "threads": 1},
        "versions": {name: version(name) for name in ("torch", "accelerate", "torchdistill", "timm")},
        "limits": limits,
        **found,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(limits)
    return 0 if all(limits.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
