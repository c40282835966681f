"""A student's row of the int8 table: its files timed, asked and judged.

Per file: `p50_ms`, `p95_ms` and `calls` at batch 1; `ratio` (median over pairs of calls, its 95 % interval `ratio_low` to `ratio_high`) to the float file
in the same runtime; `top1` and `drop`, points lost against that float file with the paired 95 % interval; `int8_share` of the multiply-accumulates, or
`layers` by type where the runtime tells that alone; what it is `called`; `bytes`. The file of the defaults also has `exact_drop`: with exact products.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from int8_artefacts import DEFAULT, FLOAT, OURS, SOURCES, File, Workshop
from int8_images import Pictures, right
from int8_timing import Pair, milliseconds, paired

from edgefw.evaluation import worst_drop
from edgefw.runtime.bundle import Bundle
from edgefw.runtime.integer_products import products_are_exact
from edgefw.runtime.manifest import ArtefactEntry

SLOWDOWN, DROP = 1.05, 0.5
"""Limits of our file: largest ratio to float, and most points of top-1 that it may lose."""
_FED = 32


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is done for a row.

    Attributes:
        threads: of every runtime.
        search_seconds: for `int8-latency-aware`.
        timed_seconds: for each int8 file with its float file.
    """

    threads: int
    search_seconds: float
    timed_seconds: float


def float_artefact(bundle: Bundle) -> ArtefactEntry:
    """The float ONNX file of a run."""
    return next(one for one in bundle.manifest.artefacts if (one.backend, one.precision) == ("onnxruntime", "fp32"))


def measured(bundle: Bundle, found: Pictures, effort: Effort) -> dict[str, Any]:
    """`files` by name, what could not be made (`missing`), and what the search said (`search`)."""
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(
            source=bundle.file(float_artefact(bundle)),
            folder=Path(folder),
            rows=found.calibration,
            threads=effort.threads,
            seconds=effort.search_seconds,
        )
        files, missing = workshop.files()
        times = _timed(files, found, effort.timed_seconds)
        answers = {name: right(file.runner, found) for name, file in files.items() if not file.stays_float}
        answers |= {name: answers[FLOAT] for name, file in files.items() if file.stays_float}
        rows = {name: _row(name, file, answers) | times[name] for name, file in files.items()}
        default = files.get(DEFAULT)
        if default is not None and default.exact is not None and not products_are_exact():
            rows[DEFAULT]["exact_drop"] = _drop(answers[FLOAT], right(default.exact, found))
    search = dict(files[OURS].search) if OURS in files else {}
    return {"images": len(found.shown), "files": rows, "missing": missing, "search": search}


def failings(files: Mapping[str, Mapping[str, Any]]) -> list[str] | None:
    """Which limits our file misses; None if there is no row of it."""
    if OURS not in files:
        return None
    ours = files[OURS]
    found = [f"takes {ours['ratio']:.2f} times as long as in float"] if ours["ratio"] > SLOWDOWN else []
    found += [f"loses {ours['drop']['points']:.2f} points"] if ours["drop"]["points"] > DROP else []
    idle = ours["called"] != "fp32" and ours["int8_share"] == 0
    return found + (["is called int8, and nothing in it runs in int8"] if idle else [])


def _timed(files: Mapping[str, File], found: Pictures, seconds: float) -> dict[str, dict[str, Any]]:
    """Every int8 file beside its float file; a float file has all of its calls. Our file that stayed float is not timed twice."""
    times: dict[str, dict[str, Any]] = {}
    floats: dict[str, list[float]] = {}
    for name, file in files.items():
        source = SOURCES[name]
        if name != source and source in files and not file.stays_float:
            pair = _pair(file, files[source], found, seconds)
            floats.setdefault(source, []).extend(pair.source)
            times[name] = milliseconds(pair.own) | _bounds(pair.ratio, pair.low, pair.high)
    for name in files:
        if name not in times and not files[name].stays_float:
            calls = floats.get(name) or _pair(files[name], files[name], found, seconds).own
            times[name] = milliseconds(calls) | _bounds(1.0, 1.0, 1.0)
    return times | {name: times[FLOAT] for name, file in files.items() if file.stays_float}


def _pair(file: File, source: File, found: Pictures, seconds: float) -> Pair:
    (name,) = file.runner.inputs
    feeds = [{name: row[None]} for row in found.shown[:: max(1, len(found.shown) // _FED)]]
    return paired(file.runner, source.runner, feeds, seconds, SLOWDOWN)


def _bounds(ratio: float, low: float, high: float) -> dict[str, float]:
    return {"ratio": round(ratio, 4), "ratio_low": round(low, 4), "ratio_high": round(high, 4)}


def _row(name: str, file: File, answers: Mapping[str, np.ndarray]) -> dict[str, Any]:
    source = SOURCES[name] if SOURCES[name] in answers else FLOAT
    return {
        "called": file.called,
        "top1": round(float(answers[name].mean()), 5),
        "drop": _drop(answers[source], answers[name]),
        "int8_share": file.share,
        "layers": None if file.layers is None else dict(file.layers),
        "bytes": file.path.stat().st_size,
    }


def _drop(source: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    lost = worst_drop("top1", {"rgb": (source, own)})
    assert lost is not None
    return {key: round(value, 3) for key, value in lost.to_json().items() if key in ("points", "low", "high")}
