"""Do the source method's claims hold? From the cells' own numbers, paired by seed; in points of top-1.

Claimed (Clip4Retrofit and Liu et al. 2022, arXiv:2207.05273): each projector, and both together, are better than the embedding loss alone; and
multi-view training gains at least a point under corruption without losing clean accuracy. A difference is the mean over seeds of
(row - reference) of one seed, its spread their sample standard deviation. Beside the claims stands what each loss of multi-view training adds to the
changed views alone (row `changed`), under corruption. `holds` asks the means; `every_seed`, whether each seed says the
same; `beyond_spread`, whether the mean difference is larger than its spread. Knows numbers alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

GAIN_POINTS = 1.0
"""What multi-view training has to gain under corruption."""
PROJECTORS = ("pca", "gl", "both")
VIEWS = ("adversarial", "consistency")
Numbers = Mapping[int, Mapping[str, float]]
"""Seed -> metric -> fraction, of one row on one set."""


def judged(rows: Mapping[str, Numbers]) -> list[dict[str, Any]]:
    """Every claim whose rows are there, for one set; `rows` is row -> seed -> metric -> fraction."""
    claims = [_projector(rows, name) for name in PROJECTORS if {name, "embedding"} <= rows.keys()]
    claims += [_views(rows, name) for name in VIEWS if {name, "both"} <= rows.keys()]
    claims += [_loss_itself(rows, name) for name in VIEWS if {name, "changed"} <= rows.keys()]
    return [claim for claim in claims if claim]


def difference(ours: Numbers, reference: Numbers, metric: str) -> dict[str, Any] | None:
    """Points by which a row is above another one, over the seeds that both have; None without one."""
    seeds = sorted(ours.keys() & reference.keys())
    if not seeds:
        return None
    points = [100 * (ours[seed][metric] - reference[seed][metric]) for seed in seeds]
    return {
        "points": round(statistics.mean(points), 2),
        "spread": round(statistics.stdev(points), 2) if len(points) > 1 else None,
        "seeds": [round(value, 2) for value in points],
    }


def _projector(rows: Mapping[str, Numbers], name: str) -> dict[str, Any]:
    clean = difference(rows[name], rows["embedding"], "clean")
    if clean is None:
        return {}
    return {
        "claim": f"{name} above embedding loss only",
        "clean": clean,
        "auc": difference(rows[name], rows["embedding"], "auc"),
        "corrupted": difference(rows[name], rows["embedding"], "corrupted"),
        "holds": clean["points"] > 0,
        "every_seed": all(value > 0 for value in clean["seeds"]),
        "beyond_spread": _beyond(clean),
    }


def _views(rows: Mapping[str, Numbers], name: str) -> dict[str, Any]:
    clean, corrupted = (difference(rows[name], rows["both"], metric) for metric in ("clean", "corrupted"))
    if clean is None or corrupted is None:
        return {}
    return {
        "claim": f"multi-view ({name}) gains {GAIN_POINTS:g} point under corruption and loses no clean accuracy",
        "clean": clean,
        "corrupted": corrupted,
        "gains": corrupted["points"] >= GAIN_POINTS,
        "keeps_clean": clean["points"] >= 0,
        "keeps_clean_within_spread": clean["points"] >= -(clean["spread"] or 0),
        "beyond_spread": _beyond(corrupted),
        "holds": corrupted["points"] >= GAIN_POINTS and clean["points"] >= 0,
        "every_seed": all(gain >= GAIN_POINTS and kept >= 0 for gain, kept in zip(corrupted["seeds"], clean["seeds"])),
    }


def _loss_itself(rows: Mapping[str, Numbers], name: str) -> dict[str, Any]:
    clean, corrupted = (difference(rows[name], rows["changed"], metric) for metric in ("clean", "corrupted"))
    if clean is None or corrupted is None:
        return {}
    return {
        "claim": f"multi-view ({name}) above its views without the loss, under corruption",
        "clean": clean,
        "corrupted": corrupted,
        "beyond_spread": _beyond(corrupted),
        "holds": corrupted["points"] > 0,
        "every_seed": all(value > 0 for value in corrupted["seeds"]),
    }


def _beyond(found: Mapping[str, Any]) -> bool:
    return found["spread"] is not None and found["points"] > found["spread"]
