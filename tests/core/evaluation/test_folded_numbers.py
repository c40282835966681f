"""What a file with its preprocessing inside is held to."""

import numpy as np
import pytest

from edgefw.evaluation.folded_numbers import ERROR, SAMPLES, folded_checks, folded_row, places


def row(error, precision="fp32", rounding=0.001):
    """Ten embeddings, longer by `error`: a cosine does not see it; the source's own move by `rounding`."""
    expected = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)
    said = {"name": "a", "source": "b", "modality": "rgb", "precision": precision}
    return folded_row(said, expected * np.float32(1 + error), expected, expected * np.float32(1 + rounding), None)


def test_a_row_has_the_error_and_what_rounding_makes():
    made = row(0.5)
    assert made["relative_error_mean"] == pytest.approx(0.5, abs=1e-6)
    assert made["rounding_error_mean"] == pytest.approx(0.001, abs=1e-6)
    assert made["cosine_min"] == pytest.approx(1.0) and (made["n"], made["not_finite"]) == (10, 0)


@pytest.mark.parametrize(
    ("error", "rounding", "limit", "ok"),
    [(0.001, 0.002, 0.002, True), (0.003, 0.002, 0.002, False), (0.02, 0.05, 0.05, True), (0.00001, 0.0, 1e-4, True)],
)
def test_a_float_file_may_err_as_much_as_rounding_makes(error, rounding, limit, ok):
    (cosine, held) = folded_checks([row(error, rounding=rounding)], {"min_cosine": 0.99})
    assert cosine["ok"] and (held["check"], held["ok"]) == (ERROR, ok)
    assert held["limit"] == pytest.approx(limit, abs=1e-6) and held["value"] == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_file_that_rounds_has_no_limit_on_its_error(precision):
    (held,) = folded_checks([row(0.5, precision)], {"min_cosine": 0.99})
    assert held["check"] == "min_cosine"


def test_what_fails_is_a_row_with_its_reason():
    (held,) = folded_checks([{"name": "a", "why": "does not open"}], {"min_cosine": 0.99})
    assert (held["check"], held["ok"], held["why"]) == ("runs", False, "does not open")


@pytest.mark.parametrize("count", [1, 2, SAMPLES, SAMPLES + 1, 1000])
def test_pictures_are_taken_from_the_first_to_the_last(count):
    taken = places(count)
    assert (taken[0], taken[-1], len(taken)) == (0, count - 1, min(SAMPLES, count))
