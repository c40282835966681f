"""Do the source method's claims hold? From the cells' own numbers, paired by seed; in points of top-1.

Claimed (Clip4Retrofit and Liu et al. 2022, arXiv:2207.05273): each projector, and both together, are better than the embedding loss alone; and
multi-view training gains at least a point under corruption without losing clean accuracy. A difference is the mean over seeds of
(row - reference) of one seed, its spread their sample standard deviation. Beside the claims stands what each loss of multi-view training adds to the
changed views alone (row `changed`), under corruption, and what the rows of `controls` say of the clean accuracy. `holds` asks the means;
`every_seed`, whether each seed says the same; `beyond_spread`, whether the mean difference is larger than its spread. Knows numbers alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

GAIN_POINTS = 1.0
"""What multi-view training has to gain under corruption."""
METRICS = ("clean", "clean_balanced", "auc", "corrupted")
Numbers = Mapping[int, Mapping[str, float]]
"""Seed -> metric -> fraction, of one row on one set."""
Difference = dict[str, Any]
Judge = Callable[[Mapping[str, Difference]], dict[str, Any]]
"""Metric -> difference, to what is said of them."""


def judged(rows: Mapping[str, Numbers]) -> list[dict[str, Any]]:
    """Every claim whose rows are there, for one set; `rows` is row -> seed -> metric -> fraction."""
    found = []
    for text, name, reference, judge in _CLAIMS:
        if {name, reference} <= rows.keys():
            each = {metric: difference(rows[name], rows[reference], metric) for metric in METRICS}
            points = {metric: one for metric, one in each.items() if one}
            if points:
                found.append({"claim": text, **points} | judge(points))
    return found


def difference(ours: Numbers, reference: Numbers, metric: str) -> Difference | None:
    """Points by which a row is above another one, over the seeds that both have; None without one."""
    seeds = sorted(ours.keys() & reference.keys())
    if not seeds:
        return None
    points = [100 * (ours[seed][metric] - reference[seed][metric]) for seed in seeds]
    return {
        "points": round(statistics.mean(points), 4),
        "spread": round(statistics.stdev(points), 4) if len(points) > 1 else None,
        "seeds": [round(value, 4) for value in points],
    }


def _better_clean(points: Mapping[str, Difference]) -> dict[str, Any]:
    return _above(points["clean"])


def _better_corrupted(points: Mapping[str, Difference]) -> dict[str, Any]:
    return _above(points["corrupted"])


def _worse_clean(points: Mapping[str, Difference]) -> dict[str, Any]:
    clean = points["clean"]
    return _above(clean | {"points": -clean["points"], "seeds": [-value for value in clean["seeds"]]})


def _above(found: Difference) -> dict[str, Any]:
    every = all(value > 0 for value in found["seeds"])
    return {"holds": found["points"] > 0, "every_seed": every, "beyond_spread": _beyond(found)}


def _gains_and_keeps(points: Mapping[str, Difference]) -> dict[str, Any]:
    """Clean accuracy is kept where neither top-1 nor the mean of the classes' recalls falls: saying the largest class more often is no gain."""
    corrupted, kept = points["corrupted"], [points["clean"], points["clean_balanced"]]
    gains, keeps = corrupted["points"] >= GAIN_POINTS, all(one["points"] >= 0 for one in kept)
    each = zip(corrupted["seeds"], *(one["seeds"] for one in kept), strict=True)
    return {
        "gains": gains,
        "keeps_clean": keeps,
        "keeps_clean_within_spread": all(one["points"] >= -(one["spread"] or 0) for one in kept),
        "holds": gains and keeps,
        "every_seed": all(gain >= GAIN_POINTS and min(rest) >= 0 for gain, *rest in each),
        "beyond_spread": _beyond(corrupted),
    }


def _beyond(found: Difference) -> bool:
    return found["spread"] is not None and found["points"] > found["spread"]


_KEEPS = f"gains {GAIN_POINTS:g} point under corruption and loses no clean accuracy"
_ALONE = "above its views without the loss, under corruption"
_CLAIMS: list[tuple[str, str, str, Judge]] = [
    ("pca above embedding loss only", "pca", "embedding", _better_clean),
    ("gl above embedding loss only", "gl", "embedding", _better_clean),
    ("both above embedding loss only", "both", "embedding", _better_clean),
    (f"multi-view (adversarial) {_KEEPS}", "adversarial", "both", _gains_and_keeps),
    (f"multi-view (consistency) {_KEEPS}", "consistency", "both", _gains_and_keeps),
    (f"multi-view (adversarial) {_ALONE}", "adversarial", "changed", _better_corrupted),
    (f"multi-view (consistency) {_ALONE}", "consistency", "changed", _better_corrupted),
    ("twice the steps: both above embedding loss only", "both-long", "embedding-long", _better_clean),
    ("half as many images cost clean accuracy", "both-half", "both", _worse_clean),
    (f"twice the steps: changed views {_KEEPS}", "changed-long", "both-long", _gains_and_keeps),
    (f"twice the steps: multi-view (adversarial) {_KEEPS}", "adversarial-long", "both-long", _gains_and_keeps),
    (f"twice the steps: multi-view (consistency) {_KEEPS}", "consistency-long", "both-long", _gains_and_keeps),
    (f"as many clean images: changed views, twice the steps, {_KEEPS}", "changed-long", "both", _gains_and_keeps),
    (f"as many clean images: adversarial, twice the steps, {_KEEPS}", "adversarial-long", "both", _gains_and_keeps),
    (f"as many clean images: consistency, twice the steps, {_KEEPS}", "consistency-long", "both", _gains_and_keeps),
    (f"three times the steps: changed views {_KEEPS}", "changed-longest", "both-longest", _gains_and_keeps),
    (
        f"three times the steps: multi-view (adversarial) {_KEEPS}",
        "adversarial-longest",
        "both-longest",
        _gains_and_keeps,
    ),
    (f"as many clean images: changed views, twice the batch, {_KEEPS}", "changed-wide", "both", _gains_and_keeps),
    (f"as many clean images: adversarial, twice the batch, {_KEEPS}", "adversarial-wide", "both", _gains_and_keeps),
    (f"as many clean images: consistency, twice the batch, {_KEEPS}", "consistency-wide", "both", _gains_and_keeps),
    (f"twice the batch: changed views {_KEEPS}", "changed-wide", "both-wide", _gains_and_keeps),
    (f"twice the batch: multi-view (adversarial) {_KEEPS}", "adversarial-wide", "both-wide", _gains_and_keeps),
    (f"twice the batch: multi-view (consistency) {_KEEPS}", "consistency-wide", "both-wide", _gains_and_keeps),
    ("pca with 3 x 3 convolutions above embedding loss only", "pca-3x3", "embedding", _better_clean),
    ("pca with 3 x 3 convolutions above pca", "pca-3x3", "pca", _better_clean),
    (f"a tenth of the loss: multi-view (adversarial) {_KEEPS}", "adversarial-light", "both", _gains_and_keeps),
    (f"a tenth of the loss: multi-view (consistency) {_KEEPS}", "consistency-light", "both", _gains_and_keeps),
    (f"a tenth of the loss: multi-view (adversarial) {_ALONE}", "adversarial-light", "changed", _better_corrupted),
    (f"a tenth of the loss: multi-view (consistency) {_ALONE}", "consistency-light", "changed", _better_corrupted),
]
"""What is said, the row, the row that it is held against, and how it is judged."""
