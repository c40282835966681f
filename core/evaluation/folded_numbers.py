"""How far a file with its preprocessing inside is from the file that it was made from, and what it is held to.

A float file is held to a relative error as well: a cosine, taken on the mean of all pictures, does not see another resize
filter. Pillow rounds with fixed-point weights, the graph with floats, so some pixels differ by one step of 255; measured, that
made up to 0.003 of EfficientNet-Lite0's embeddings (published weights, 64 and 224 pixels, photographs of any size). Another
filter (bilinear for bicubic) made 0.058 and more of the worst picture's, another cubic 0.019 and more, of that student and the
quickstart's. `ERROR` lies between. Arithmetic on arrays and rows; it opens no file.
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
ERROR = 0.01
"""Least limit of the relative error of a float file: what rounding elsewhere makes, three times. A larger `max_error` holds instead."""
_FLOAT = "fp32"


def places(count: int) -> list[int]:
    """Which of so many pictures are looked at: all, or `SAMPLES` from the first to the last."""
    return [int(at) for at in np.unique(np.linspace(0, count - 1, min(SAMPLES, count)).round())]


def folded_row(
    said: Mapping[str, Any],
    found: np.ndarray,
    expected: np.ndarray,
    predicted: tuple[np.ndarray, np.ndarray] | None,
) -> dict[str, Any]:
    """What is said of a file, then n, cosines, relative errors, agreement, and embeddings that are not finite.

    Args:
        said: name, source, modality, precision.
        found: (N, D), of the file.
        expected: (N, D), of its source.
        predicted: (N,) labels of both; None without labels.
    """
    return {
        **said,
        "n": len(found),
        **summary(row_cosines(found, expected), relative_errors(found, expected), length_ratios(found, expected)),
        "top1_agreement": None if predicted is None else agreement(*predicted),
        "not_finite": int((~np.isfinite(found).all(axis=1)).sum()),
    }


def folded_checks(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """Rows of a budget: cosine, agreement, relative error of float files, length of others, finite numbers, that it runs.

    Args:
        rows: of `folded_row`, or {name, why} of a file that fails.
        limits: the budget; without `max_error`, the relative error is not judged.
    """
    exact = limits.get("max_error")
    limits = {**limits, "max_error": None if exact is None else max(exact, ERROR)}
    numbers = [_measured(row) for row in rows if "why" not in row]
    return [*(broken(row["name"], row["why"]) for row in rows if "why" in row), *checks(numbers, limits)]


def _measured(row: Mapping[str, Any]) -> Measured:
    values = {
        "min_cosine": row["cosine_mean"],
        "min_agreement": row["top1_agreement"],
        "max_not_finite": float(row["not_finite"]),
    }
    if row["precision"] == _FLOAT:
        values["max_error"] = row["relative_error_max"]
    else:
        values["max_length_error"] = row["length_error"]
    return Measured(name=row["name"], quantised=True, values=values)
