"""Time the files of a prepared run in turn: a row per artefact.

A row has p50 and p95 of one image in milliseconds, images a second in batches of eight, megabytes of the file, the most memory of a process that encodes
one image at a time, seconds from a process's first line to the first embedding (the interpreter runs by then; libraries were read before, by the ways by hand), agreement with torch, and
`of_best_by_hand`: p50 over that of the fastest way by hand, with its 95 % interval (`interval`, bootstrap over turns). A backend that is too far behind is looked
at once more, four times as long and with the ways of its own runtime alone; that look counts, be it better or worse (`looks` is 2, `first_look` the ratio of the
first, and `first_look_ms` its median, which was taken beside the other backends').
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from speed_process import THREADS, Model
from speed_runs import SEED, entries, ways

from edgefw.runtime.manifest import ArtefactEntry

BATCH, LONGER, TURN, DRAWS = 8, 4, 5, 1000
"""Images of a batch, rounds of a second look in those of the first, images of a turn, and draws of the bootstrap."""
PAUSE = 0.1
"""Seconds before a turn: threads of ONNX Runtime spin for some hundredths of a second behind their last call, on a core that the next process would have to share."""


def measured(
    model: str, run: Path, backends: Sequence[str], rounds: int, limit: float, pause: float = PAUSE
) -> list[dict[str, Any]]:
    """A row per artefact of a run for these backends; a ratio above the limit is looked at twice. `pause`: seconds before a turn."""
    agreed = json.loads((run / "agreement.json").read_text(encoding="utf-8"))
    artefacts = entries(run, backends)
    with ExitStack() as stack:
        theirs = [stack.enter_context(Model(run, way, threads=THREADS, by_hand=way)) for way in ways(run, backends)]
        ours = [stack.enter_context(Model(run, one.name, threads=THREADS, artefact=one.name)) for one in artefacts]
        memory = _time(ours, theirs, rounds, pause)
        backend_of = {each: entry.backend for entry, each in zip(artefacts, ours)}
        first = {each: _again(each, _ways_of(name, theirs), rounds, limit, pause) for each, name in backend_of.items()}
    by_hand = {each.name: _facts(each, agreed, memory) for each in theirs}
    rows = [_row(model, entry, each, _facts(each, agreed, memory), by_hand) for entry, each in zip(artefacts, ours)]
    intervals = [_interval(each, _ways_of(name, theirs)) for each, name in backend_of.items()]
    return [row | {"interval": ends} | looks for row, ends, looks in zip(rows, intervals, first.values())]


def _ways_of(backend: str, theirs: Sequence[Model]) -> list[Model]:
    return [each for each in theirs if each.name.startswith(f"{backend}: ")]


def _again(own: Model, ways: Sequence[Model], rounds: int, limit: float, pause: float = PAUSE) -> dict[str, Any]:
    """Look once more if the first look was above the limit; what a row says of its looks."""
    first = _ratio(own, ways)
    if first is None or first <= limit:
        return {"looks": 1}
    in_first = round(float(np.median(own.alone)), 3)
    for each in (own, *ways):
        each.alone = []
    _turns([own, *ways], LONGER * rounds, pause)
    return {"looks": 2, "first_look": round(first, 3), "first_look_ms": in_first}


def _ratio(own: Model, ways: Sequence[Model]) -> float | None:
    """The median of one over the smallest of the ways' medians; None without ways."""
    return float(np.median(own.alone)) / min(float(np.median(way.alone)) for way in ways) if ways else None


def _interval(own: Model, ways: Sequence[Model]) -> list[float] | None:
    """Ends of the 95 % interval of the ratio to the fastest way: turns are drawn again, the same ones for both, as both had them side by side."""
    if not ways:
        return None
    best = min(ways, key=lambda way: float(np.median(way.alone)))
    mine, theirs = (np.reshape(each.alone, (-1, TURN)) for each in (own, best))
    drawn = np.random.default_rng(SEED).integers(len(mine), size=(DRAWS, len(mine)))
    ratios = [np.median(mine[rows]) / np.median(theirs[rows]) for rows in drawn]
    return [round(float(end), 3) for end in np.percentile(ratios, [2.5, 97.5])]


def _time(ours: Sequence[Model], theirs: Sequence[Model], rounds: int, pause: float) -> dict[str, float]:
    """One image at a time, five images a turn, in another order every turn; then batches of ours. The most memory of each before the batches."""
    every = [*ours, *theirs]
    _turns(every, rounds, pause)
    memory: dict[str, float] = {each.name: each.ask("memory")["peak_mb"] for each in every}
    for each in ours:
        each.ask(f"time 1 {BATCH}")
    for _ in range(max(rounds // 5, 1)):
        for each in ours:
            each.batches += each.ask(f"time 2 {BATCH}")
    return memory


def _turns(models: Sequence[Model], rounds: int, pause: float) -> None:
    every, order = list(models), random.Random(SEED)
    for each in every:
        each.ask(f"time {TURN} 1")
    for _ in range(rounds):
        order.shuffle(every)
        for each in every:
            time.sleep(pause)
            each.alone += each.ask(f"time {TURN + 1} 1")[1:]  # the first wakes the threads


def _facts(each: Model, agreed: Mapping[str, Mapping[str, Any]], memory: Mapping[str, float]) -> dict[str, Any]:
    p50, p95 = np.percentile(each.alone, [50, 95])
    facts = {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3), "startup_s": round(each.startup_s, 2)}
    own = {key: value for key, value in agreed[each.name].items() if key not in ("of", "images")}
    return {**facts, "peak_mb": round(memory[each.name], 1), **own}


def _row(
    model: str, entry: ArtefactEntry, each: Model, facts: dict[str, Any], by_hand: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    own = {name.split(": ")[1]: found for name, found in by_hand.items() if name.startswith(f"{entry.backend}: ")}
    best = min((found["p50_ms"] for found in own.values()), default=None)
    return {
        "model": model,
        "artefact": entry.name,
        "backend": entry.backend,
        "megabytes": round(entry.bytes / 1e6, 2),
        "images_per_second": round(1000 * BATCH / float(np.median(each.batches)), 1),
        **facts,
        "of_best_by_hand": round(facts["p50_ms"] / best, 3) if best else None,
        "by_hand": own,
    }
