"""Latency of several runners, measured turn by turn, so that a busy machine is busy for all of them alike.

Wall time of one call at batch 1 or more, where calls follow each other as on a device that has one runner; percentiles, never means. It knows contracts and a clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner

Feeds = Mapping[str, np.ndarray]

WARM_UP, CALLS = 5, 5
"""Calls before all turns; calls of a turn that count, at least."""
SETTLE, COUNT = 0.03, 0.03
"""Seconds of a turn: of calls that wake the runner's own threads and do not count, and of those that count."""
_REST, _LOOK, _ASLEEP = 0.4, 0.01, 0.1
"""Seconds to wait for other threads at most; between two looks at them; share of a core that is left of them when they sleep."""
_LEAST_AGAIN = 60
_NEAR = 0.2
"""So far below a limit, as a share of it, a ratio is looked at again: a first look has few calls."""
_NOTICED = 1.05
"""Slowdowns above this are told."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds per call: median, 95th percentile, and how many calls were timed."""

    p50_ms: float
    p95_ms: float
    calls: int


def time_interleaved(
    runners: Mapping[str, Runner], feeds: Mapping[str, Sequence[Feeds]], seconds: float, least: int = 20
) -> dict[str, Latency]:
    """Time every runner, a few calls each in turn; every other round in the opposite order, as a call warms or clears caches for the next.

    Args:
        runners: name -> opened artefact.
        feeds: name -> inputs, used in turn; real samples, so that nothing is faster than it will be.
        seconds: for all runners together; at least `least` calls of each are timed, in two rounds or more, however long they take.
        least: calls of each.
    """
    rounds = _rounds(runners, feeds, seconds, least)
    return {name: _latency([taken for round_ in rounds for taken in round_[name]]) for name in runners}


def _rounds(
    runners: Mapping[str, Runner], feeds: Mapping[str, Sequence[Feeds]], seconds: float, least: int
) -> list[dict[str, list[float]]]:
    """Per round: name -> seconds of its calls."""
    for name, runner in runners.items():
        for place in range(WARM_UP):
            runner.run(feeds[name][place % len(feeds[name])])
    names = list(runners)
    rounds: list[dict[str, list[float]]] = []
    began = time.perf_counter()
    while len(rounds) % 2 or len(rounds) * CALLS < least or time.perf_counter() - began < seconds:
        order = reversed(names) if len(rounds) % 2 else names
        rounds.append({name: turn(runners[name].run, feeds[name], len(rounds)) for name in order})
    return rounds


def turn(
    call: Callable[[Feeds], object],
    feeds: Sequence[Feeds],
    first: int = 0,
    settle: float = SETTLE,
    count: float = COUNT,
) -> list[float]:
    """Seconds of each of some calls in a row, as on a device where nothing else runs, behind others that do not count.

    Args:
        call: what is timed.
        feeds: its inputs, used in turn.
        first: place of the first input among `feeds`, counted round and round.
        settle: seconds of the calls that do not count, one at least.
        count: seconds of those that do, `CALLS` at least.
    """
    _rest()
    began, place = time.perf_counter(), first
    while place == first or time.perf_counter() - began < settle:
        call(feeds[place % len(feeds)])
        place += 1
    began = time.perf_counter()
    taken: list[float] = []
    while len(taken) < CALLS or time.perf_counter() - began < count:
        taken.append(_seconds(call, feeds[(place + len(taken)) % len(feeds)]))
    return taken


def _rest() -> None:
    """Wait until the threads of this process sleep.

    Those of a runtime spin behind their last call (ONNX Runtime: for some hundredths of a second, depending on the processor), on cores
    that the next runner would have to share with them.
    """
    began = time.perf_counter()
    while time.perf_counter() - began < _REST:
        busy, since = time.process_time(), time.perf_counter()
        time.sleep(_LOOK)
        if time.process_time() - busy < _ASLEEP * (time.perf_counter() - since):
            return


def slowdown(
    name: str,
    source: str,
    runners: Mapping[str, Runner],
    feeds: Mapping[str, Sequence[Feeds]],
    first: Mapping[str, Latency],
    limit: float | None,
    seconds: float = 4.0,
) -> float:
    """The p50 of one runner over that of another; where it is above a limit or little below, what a second, longer look at the two alone says.

    That is the median over its rounds of the ratio of both turns' medians: a machine that is slower for a while is so for both turns of a
    round, while the p50 of all calls may fall into that while for one of the two, and not for the other.

    Args:
        name: the runner in question.
        source: what it is compared with.
        runners: name -> opened artefact.
        feeds: name -> inputs.
        first: what both took when all were timed in turn.
        limit: of the ratio; None: the first look counts.
        seconds: of the second look, for both together; it has 60 calls of each at least.
    """
    ratio = first[name].p50_ms / first[source].p50_ms
    if limit is None or ratio <= limit * (1 - _NEAR):
        return ratio
    pair = (source, name)
    those, fed = {key: runners[key] for key in pair}, {key: feeds[key] for key in pair}
    rounds = _rounds(those, fed, seconds, _LEAST_AGAIN)
    return paired_ratio(rounds, name, source)


def paired_ratio(rounds: Sequence[Mapping[str, Sequence[float]]], name: str, source: str) -> float:
    """The median over rounds of the ratio of two turns' medians.

    >>> quiet, busy = {"float": [2.0, 2.0], "int8": [1.0]}, {"float": [6.0], "int8": [3.0, 3.0]}
    >>> paired_ratio([quiet, busy], "int8", "float")
    0.5
    """
    return float(np.median([np.median(round_[name]) / np.median(round_[source]) for round_ in rounds]))


def slower_notes(ratio: float | None, ms: float, source_ms: float, source: str = "its float source") -> list[str]:
    """What a user should know of a quantised file that is slower than float; nothing of others.

    Args:
        ratio: its `slowdown`; None where there is none.
        ms: its p50 when all files were timed in turn.
        source_ms: the float file's.
        source: what that is, in words.
    """
    if ratio is None or ratio <= _NOTICED:
        return []
    times = f"{ms:.2f} ms against {source_ms:.2f} ms when all files took turns"
    return [f"slower than {source} on this machine: {ratio:.2f} times as long at batch 1 ({times})"]


def _seconds(call: Callable[[Feeds], object], inputs: Feeds) -> float:
    start = time.perf_counter()
    call(inputs)
    return time.perf_counter() - start


def _latency(seconds: Sequence[float]) -> Latency:
    p50, p95 = np.percentile(np.array(seconds) * 1e3, [50, 95])
    return Latency(p50_ms=float(p50), p95_ms=float(p95), calls=len(seconds))
