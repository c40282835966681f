"""How far a file with its preprocessing inside is from the file that it was made from, and what it is held to.

A float file is held to a relative error as well, as a cosine does not see another resize filter. Pillow rounds with fixed-point
weights, the graph with floats, so up to 2 % of the pixels differ by one step of 255. How much that is of an embedding depends on the
network and the picture, and is measured: the source sees the same pictures with 2 % of the values a step off. The folded file's mean
error must not be larger than the one that this makes (`max_folded_error`).

Measured with EfficientNet-Lite0 (published weights, 64 and 224 pixels), the quickstart's student and a network that only averages
pixels, on photographs: a right file has up to 0.2 of what the steps make, bilinear for bicubic 3.5 times and more, a cubic of -0.75 for
-0.5 twice and more. Arithmetic on arrays and rows; it opens no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgefw.evaluation.accuracy import agreement
from edgefw.evaluation.budget import Measured, broken, checks
from edgefw.evaluation.comparison import length_ratios, relative_errors, row_cosines, summary

SAMPLES = 64
"""So many pictures per file are looked at."""
ERROR = "max_folded_error"
"""Check of a float file's mean relative error."""
_LEAST = 1e-4
"""Sums in another order make as much; no limit is below."""
_FLOAT = "fp32"


def places(count: int) -> list[int]:
    """Which of so many pictures are looked at: all, or `SAMPLES` from the first to the last."""
    return [int(at) for at in np.unique(np.linspace(0, count - 1, min(SAMPLES, count)).round())]


def folded_row(
    said: Mapping[str, Any],
    found: np.ndarray,
    expected: np.ndarray,
    disturbed: np.ndarray,
    predicted: tuple[np.ndarray, np.ndarray] | None,
) -> dict[str, Any]:
    """What is said of a file, then n, cosines, relative errors, the mean one that rounding makes, agreement, and embeddings that are not finite.

    Args:
        said: name, source, modality, precision.
        found: (N, D), of the file.
        expected: (N, D), of its source.
        disturbed: (N, D), of its source where rounding moved some pixels.
        predicted: (N,) labels of both; None without labels.
    """
    return {
        **said,
        "n": len(found),
        **_distance(found, expected),
        "rounding_error_mean": _distance(disturbed, expected)["relative_error_mean"],
        "top1_agreement": None if predicted is None else agreement(*predicted),
        "not_finite": int((~np.isfinite(found).all(axis=1)).sum()),
    }


def _distance(rows: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    return summary(row_cosines(rows, expected), relative_errors(rows, expected), length_ratios(rows, expected))


def folded_checks(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """Rows of a budget: cosine, agreement, finite numbers, that it runs, the relative error of float files, the length of others.

    Args:
        rows: of `folded_row`, or {name, why} of a file that fails.
        limits: the budget.
    """
    good = [row for row in rows if "why" not in row]
    return [
        *(broken(row["name"], row["why"]) for row in rows if "why" in row),
        *checks([_measured(row) for row in good], limits),
        *(_apart(row) for row in good if row["precision"] == _FLOAT),
    ]


def _measured(row: Mapping[str, Any]) -> Measured:
    values = {
        "min_cosine": row["cosine_mean"],
        "min_agreement": row["top1_agreement"],
        "max_not_finite": float(row["not_finite"]),
    }
    if row["precision"] != _FLOAT:
        values["max_length_error"] = row["length_error"]
    return Measured(name=row["name"], quantised=True, values=values)


def _apart(row: Mapping[str, Any]) -> dict[str, Any]:
    value, limit = row["relative_error_mean"], max(_LEAST, row["rounding_error_mean"])
    return {"artefact": row["name"], "check": ERROR, "limit": limit, "value": value, "ok": bool(value <= limit)}
