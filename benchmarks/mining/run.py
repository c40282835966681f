"""Times semi-hard mining against a loop over all pairs, checks that both find the same, and writes results.json.

    python benchmarks/mining/run.py [--sizes 256 1024] [--repeats 5]

The loop is the one that the tests compare with, `tests/fixtures/triplets_by_loops.py`: one distance at a time, in NumPy. Exit
code 1 if the results differ, or if mining is less than 20 times faster at 1,024 samples.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "fixtures"))

from triplets_by_loops import triplets_by_loops

from edgefw.plugins.samplers.triplet_mining import Rules, Triplets, mine

WIDTH, LABELS, CENTRES, RULES = 512, 20, 0.5, Rules(margin=0.3, negatives=3)
LIMIT_AT, LIMIT = 1024, 20.0
ALONE = (4725,)
"""Sizes that only the sampler is timed at: 4,725 is what EdgeVL keeps of ScanNet."""


def samples(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings around the centres of their labels, float32, and the labels."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, LABELS, size)
    embedding = CENTRES * rng.normal(size=(LABELS, WIDTH))[label] + rng.normal(size=(size, WIDTH))
    return (embedding / np.linalg.norm(embedding, axis=1, keepdims=True)).astype(np.float32), label


def seconds(function: Callable[[], Any], repeats: int) -> list[float]:
    """CPU time of each repetition."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return found


def equal(found: Triplets, expected: Sequence[tuple[int, list[int], bool]]) -> bool:
    """Whether positives and negatives are the same, in the same order."""
    return all(
        found.positive[at] == positive and found.negatives[at][found.negatives[at] >= 0].tolist() == negatives
        for at, (positive, negatives, _) in enumerate(expected)
    )


def peak_mib(function: Callable[[], Any]) -> float:
    """Most memory that NumPy had in use at a time, beyond what was there before."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def measure(size: int, repeats: int, with_loop: bool) -> dict[str, Any]:
    """One row of the results."""
    embedding, label = samples(size)

    def mining() -> Triplets:
        return mine(embedding, label, RULES, (0, 0))

    row: dict[str, Any] = {"samples": size, "anchors": int(mining().valid.sum())}
    row["mining_s"] = seconds(mining, repeats)
    row["mining_peak_mib"] = round(peak_mib(mining), 1)
    if with_loop:
        row["equal"] = equal(mining(), triplets_by_loops(embedding, label, RULES, (0, 0)))
        row["loop_s"] = seconds(lambda: triplets_by_loops(embedding, label, RULES, (0, 0)), max(2, repeats // 2))
        row["times_faster"] = round(min(row["loop_s"]) / min(row["mining_s"]), 1)
    return row


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    mining = (
        f"{row['samples']} samples: mining {statistics.median(row['mining_s']):.3f} s, {row['mining_peak_mib']} MiB"
    )
    if "loop_s" not in row:
        return mining
    same = "equal" if row["equal"] else "NOT EQUAL"
    return f"{mining}; loop {statistics.median(row['loop_s']):.3f} s; {row['times_faster']} times faster, {same}"


def main() -> int:
    """Measure, print, write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    arguments = parser.parse_args()
    rows = []
    for size in [*arguments.sizes, *ALONE]:
        rows.append(measure(size, arguments.repeats, size in arguments.sizes))
        print(line(rows[-1]), flush=True)
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "time": "CPU seconds of the process (time.process_time), every repetition",
    }
    document = {
        "width": WIDTH,
        "labels": LABELS,
        "centres": CENTRES,
        "margin": RULES.margin,
        "negatives": RULES.negatives,
        "rows": rows,
    }
    arguments.out.write_text(json.dumps({**document, "machine": machine}, indent=1) + "\n", encoding="utf-8")
    compared = [row for row in rows if "loop_s" in row]
    slow = any(row["times_faster"] < LIMIT for row in compared if row["samples"] == LIMIT_AT)
    return int(slow or not all(row["equal"] for row in compared))


if __name__ == "__main__":
    sys.exit(main())
