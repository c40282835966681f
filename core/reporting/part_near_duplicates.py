"""The report's part on near duplicates: images of two splits that look alike, counted and listed.

Knows `near_duplicates` of `curate/result.json`; counts of a pair of splits that a run did not compare are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgefw.reporting.run_data import RunData

PAIRS = (("val", "train", "val"), ("test", "train", "test"), ("test", "val", "test_like_val"))
"""A split, the one that it is compared with, and under which key of the file the counts stand."""


def summary(run: RunData) -> str:
    """How many images of each split look like one of another."""
    found = [f"{split} like {other} {images} of {total}" for split, other, images, total in _counts(run)]
    return " · ".join(found) or "not looked for"


def warnings(run: RunData) -> list[str]:
    """A sentence for every pair of splits that share images."""
    return [
        f"{images} of {total} {split} images look like one of {other}; see Curation"
        for split, other, images, total in _counts(run)
        if images
    ]


def examples(run: RunData) -> list[dict[str, Any]]:
    """The closest pairs: split, id, the other split, the id there, distance."""
    return [
        {
            "split": row.get("split"),
            "id": row.get("id"),
            "other": other,
            "like": row[other],
            "bits": row.get("distance"),
        }
        for row in _found(run).get("examples") or []
        if (other := next((name for name in ("train", "val") if name in row), None))
    ]


def _counts(run: RunData) -> Iterator[tuple[str, str, int, int]]:
    found = _found(run)
    for split, other, key in PAIRS:
        counts = found.get(key)
        if isinstance(counts, Mapping):
            yield split, other, int(counts.get("images") or 0), int((found.get("compared") or {}).get(split) or 0)


def _found(run: RunData) -> Mapping[str, Any]:
    found = run.stage("curate").get("near_duplicates")
    return found if isinstance(found, Mapping) else {}
