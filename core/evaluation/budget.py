"""Hold measured artefacts against a budget, and choose the best of them. Pure arithmetic on numbers measured elsewhere.

Accuracy limits hold for every artefact. Cost limits (milliseconds, megabytes, memory) hold for what is deployed: where there
are quantised artefacts, the float file is their source and its cost is measured, not judged; they are also held against its
time (`max_slowdown`). Three rules are no matter
of budget and hold always (`ALWAYS`): every embedding is finite, every file runs, a bundle answers as it was measured.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LIMITS = (
    "max_drop", "min_cosine", "min_agreement", "max_slowdown", "max_ms", "max_mb", "max_memory_mib", "max_error", "max_length_error",
    "max_batch_error", "max_not_finite"
)  # fmt: skip
COSTS = ("max_ms", "max_mb", "max_memory_mib")
_COSTLY = frozenset({*COSTS, "max_slowdown"})
ANSWERS = frozenset(LIMITS) - _COSTLY
"""Checks that a wrong layer may break; cost has none."""
ALWAYS: Mapping[str, float | None] = {"max_not_finite": 0.0}
"""Limits that no recipe can lift."""
RUNS = "runs"
"""Check of a file that opens and takes a batch; its row has no numbers, and says why."""
_ALIKE = 1.05
"""Latencies within this factor of the fastest count as equal; the smaller file then wins."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An artefact's numbers.

    Attributes:
        name: of the artefact.
        quantised: whether it was made from a float artefact of the same run.
        values: limit name -> value measured in the same unit (points, cosine, fraction, ratio of times,
            milliseconds, 10^6 bytes, 2^20 bytes of memory, relative error, rows); None where it was to be measured and could not be. A limit
            that does not apply to the artefact has no key.
        reasons: limit name -> why its value is None.
        intervals: limit name -> ends of the value's 95 % interval, where it has one. The value is judged, not they.
    """

    name: str
    quantised: bool
    values: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


def checks(measured: Sequence[Measured], limits: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """One row per artefact and limit that applies: artefact, check, limit, value, ok, and `interval` where there is one.

    A value of NaN is never ok.
    """
    some_quantised = any(entry.quantised for entry in measured)
    rows = []
    for entry in measured:
        for check in LIMITS:
            limit, value = limit_of(entry, check, limits), entry.values.get(check)
            if limit is None or value is None or (check in COSTS and some_quantised and not entry.quantised):
                continue
            row: dict[str, Any] = {"artefact": entry.name, "check": check, "limit": limit, "value": value}
            if check in entry.intervals:
                row["interval"] = list(entry.intervals[check])
            rows.append({**row, "ok": keeps(check, limit, value)})
    return rows


def limit_of(entry: Measured, check: str, limits: Mapping[str, float | None]) -> float | None:
    """What an artefact's number is held to: the limit of the check.

    A file that `max_error` applies to is exact: what an image alone changes in it is an error as any other, and held to
    that limit, too.
    """
    limit, exact = limits.get(check), limits.get("max_error")
    if check != "max_batch_error" or "max_error" not in entry.values or limit is None or exact is None:
        return limit
    return min(limit, exact)


def keeps(check: str, limit: float, value: float) -> bool:
    """Whether a value keeps a limit; `max_` limits from above, `min_` from below. NaN keeps none."""
    return bool(value <= limit) if check.startswith("max_") else bool(value >= limit)


def not_judged(measured: Sequence[Measured], limits: Mapping[str, float | None], section: str = "") -> list[str]:
    """Limits that are set and were to be measured and could not be: a sentence per reason and artefacts it holds for.

    Args:
        measured: of the artefacts.
        limits: the budget.
        section: stands before the name of a limit.
    """
    open_checks: dict[tuple[str, str], list[str]] = {}
    for check in (check for check in LIMITS if limits.get(check) is not None):
        whose: dict[str, list[str]] = {}
        for entry in measured:
            if check in entry.values and entry.values[check] is None:
                whose.setdefault(entry.reasons.get(check, "it could not be measured"), []).append(entry.name)
        for why, names in whose.items():
            told = "" if len(names) == len(measured) else f" for {_listed(names)}"
            open_checks.setdefault((told, why), []).append(f"{section}{check}")
    return [
        f"{_listed(names)} {'is' if len(names) == 1 else 'are'} not judged{told}: {why}"
        for (told, why), names in open_checks.items()
    ]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])


def best(
    measured: Sequence[Measured], rows: Iterable[Mapping[str, Any]], limits: Mapping[str, float | None]
) -> tuple[str | None, bool]:
    """(name, whether all of its rows are ok) of the artefact for this machine; no name if none was measured.

    First come answers, then cost: it breaks fewest checks of answers, and of such files fewest checks of cost. What a float file
    costs is not judged beside its quantised files (`checks`); between files that are equal so far it counts, as the
    chosen one is deployed. Of what is left, the fastest, and the smallest where several are as fast.

    Args:
        measured: the artefacts to choose from.
        rows: of the whole budget: of `checks`, and all others that name an artefact.
        limits: the budget.
    """
    if not measured:
        return None, False
    failed = [row for row in rows if not row["ok"]]
    broken_by = {entry.name: _broken_by(entry, failed, limits) for entry in measured}
    least = min(broken_by.values())
    fitting = [entry for entry in measured if broken_by[entry.name] == least]
    fastest = min(_or_worst(entry.values.get("max_ms")) for entry in fitting)
    alike = [entry for entry in fitting if _or_worst(entry.values.get("max_ms")) <= fastest * _ALIKE]
    chosen = min(alike, key=lambda entry: _or_worst(entry.values.get("max_mb")))
    return chosen.name, least[:2] == (0, 0)


def _broken_by(
    entry: Measured, failed: Sequence[Mapping[str, Any]], limits: Mapping[str, float | None]
) -> tuple[int, int, int]:
    """How many checks of answers, checks of cost, and limits on cost, judged or not, an artefact breaks."""
    own = [row["check"] for row in failed if row["artefact"] == entry.name]
    costly = sum(check in _COSTLY for check in own)
    pairs = [(check, limits.get(check), entry.values.get(check)) for check in COSTS]
    over = sum(
        limit is not None and value is not None and not keeps(check, limit, value) for check, limit, value in pairs
    )
    return len(own) - costly, costly, over


def best_notes(name: str | None, keeps_all: bool) -> list[str]:
    """What a reader of `best` should know: that there is none, or that it does not keep the budget either."""
    if name is None:
        return ["no artefact could be judged"]
    return [] if keeps_all else [f"no artefact keeps the whole budget; {name} comes nearest"]


def broken(artefact: str, why: str) -> dict[str, Any]:
    """The row of a file that does not open, or fails on real images; it keeps no budget."""
    return {"artefact": artefact, "check": RUNS, "limit": 1.0, "value": 0.0, "ok": False, "why": why}


def _or_worst(value: float | None) -> float:
    return float("inf") if value is None or math.isnan(value) else value


def wrong(rows: Iterable[Mapping[str, Any]], answers: Collection[str] = ANSWERS) -> set[str]:
    """Names of artefacts that broke one of these checks of their answers."""
    return {row["artefact"] for row in rows if not row["ok"] and row["check"] in answers}


def failures(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows that do not keep their limit, a line each; empty if all do."""
    return "\n".join(f"  {sentence(row)}" for row in rows if not row["ok"])


def sentence(row: Mapping[str, Any]) -> str:
    """A row that does not keep its limit, in words."""
    if row["check"] == RUNS:
        return f"{row['artefact']}: does not run: {row['why']}"
    beside = f" ({text})" if (text := interval_text(row)) else ""
    return f"{row['artefact']}: {row['check']} is {row['value']:.4g}{beside}, the budget is {row['limit']:g}"


def interval_text(row: Mapping[str, Any]) -> str:
    """A row's interval: `95 %: -0.5 to 4.5, holds 0 and the limit`; empty for a row without one.

    One that holds 0 does not show that anything is lost; one that holds the limit, that other samples could turn the verdict.
    """
    if not row.get("interval"):
        return ""
    low, high = row["interval"]
    marks = (("0", 0.0), ("the limit", row["limit"]))
    held = " and ".join(name for name, mark in marks if low < high and low <= mark <= high)
    return f"95 %: {low:.1f} to {high:.1f}" + (f", holds {held}" if held else "")


def missing(unjudged: Sequence[Mapping[str, Any]]) -> str:
    """The artefacts that could not be judged, a line each with the reason; empty if there are none."""
    return "\n".join(f"  {row['name']}: {row['why']}" for row in unjudged)
