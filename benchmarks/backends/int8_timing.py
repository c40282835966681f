"""Two files timed call by call in turn, each first every other time: what is busy is busy for both. It knows runners and a clock."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgefw.contracts.backend import Runner
from edgefw.plugins.quantizers.latency_search import timing_of

WARM_UP, LEAST, LONGER = 5, 60, 4
Feeds = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A file beside its float source.

    Attributes:
        ratio: median over pairs of calls, this file's time over the source's; above 1 is slower.
        low, high: 95 % interval of that median.
        own: seconds of this file's calls.
        source: seconds of the source's.
    """

    ratio: float
    low: float
    high: float
    own: tuple[float, ...]
    source: tuple[float, ...]


def paired(own: Runner, source: Runner, feeds: Feeds, seconds: float, limit: float) -> Pair:
    """Time a file beside its source; a ratio above the limit is looked at once more, four times as long, and that look counts.

    Args:
        own: the file.
        source: its float source.
        feeds: inputs at batch 1, used in turn.
        seconds: for both together; there are at least 60 pairs.
        limit: of the ratio.
    """
    first = _look(own, source, feeds, seconds, LEAST)
    return first if first.ratio <= limit else _look(own, source, feeds, LONGER * seconds, LONGER * LEAST)


def milliseconds(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, 95th percentile and count of calls."""
    p50, p95 = np.percentile(np.array(seconds) * 1e3, [50, 95])
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3), "calls": len(seconds)}


def _look(own: Runner, source: Runner, feeds: Feeds, seconds: float, least: int) -> Pair:
    runners = (own, source)
    taken: tuple[list[float], list[float]] = ([], [])
    for runner in runners:
        for number in range(WARM_UP):
            runner.run(feeds[number % len(feeds)])
    began = time.perf_counter()
    while len(taken[0]) < least or time.perf_counter() - began < seconds:
        number = len(taken[0])
        for at in (0, 1) if number % 2 else (1, 0):
            start = time.perf_counter()
            runners[at].run(feeds[number % len(feeds)])
            taken[at].append(time.perf_counter() - start)
    found = timing_of(*taken)
    return Pair(ratio=found.ratio, low=found.low, high=found.high, own=tuple(taken[0]), source=tuple(taken[1]))
