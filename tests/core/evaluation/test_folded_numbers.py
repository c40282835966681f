"""What a file with its preprocessing inside is held to."""

import numpy as np
import pytest

from edgefw.evaluation.folded_numbers import ERROR, SAMPLES, folded_checks, folded_row, places


def row(error, precision="fp32"):
    """Ten embeddings, the last of them longer by `error`: a cosine does not see it."""
    expected = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)
    found = expected.copy()
    found[-1] *= 1.0 + error
    return folded_row({"name": "a", "source": "b", "modality": "rgb", "precision": precision}, found, expected, None)


def test_the_worst_picture_counts():
    made = row(0.5)
    assert made["relative_error_max"] == pytest.approx(0.5, abs=1e-6)
    assert made["cosine_min"] == pytest.approx(1.0) and (made["n"], made["not_finite"]) == (10, 0)


@pytest.mark.parametrize(
    ("error", "stated", "limit", "ok"),
    [(0.003, 0.001, ERROR, True), (0.02, 0.001, ERROR, False), (0.02, 0.05, 0.05, True)],
)
def test_a_float_file_has_a_relative_error_that_rounding_of_pixels_keeps(error, stated, limit, ok):
    (cosine, held) = folded_checks([row(error)], {"min_cosine": 0.99, "max_error": stated})
    assert cosine["ok"] and (held["check"], held["limit"], held["ok"]) == ("max_error", limit, ok)


@pytest.mark.parametrize(("precision", "stated"), [("int8", 0.01), ("fp16", 0.01), ("fp32", None)])
def test_a_file_that_rounds_and_a_lifted_limit_have_no_relative_error(precision, stated):
    (held,) = folded_checks([row(0.5, precision)], {"min_cosine": 0.99, "max_error": stated})
    assert held["check"] == "min_cosine"


def test_what_fails_is_a_row_with_its_reason():
    (held,) = folded_checks([{"name": "a", "why": "does not open"}], {"min_cosine": 0.99})
    assert (held["check"], held["ok"], held["why"]) == ("runs", False, "does not open")


@pytest.mark.parametrize("count", [1, 2, SAMPLES, SAMPLES + 1, 1000])
def test_pictures_are_taken_from_the_first_to_the_last(count):
    taken = places(count)
    assert (taken[0], taken[-1], len(taken)) == (0, count - 1, min(SAMPLES, count))
