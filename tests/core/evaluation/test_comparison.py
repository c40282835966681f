"""Distances between embeddings, against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgefw.evaluation.comparison import SUMMARY, length_ratios, relative_errors, row_cosines, summary, worst

ROWS = arrays(np.float64, (4, 3), elements=st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-3))


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_cosine_and_error_of_each_row(first, second):
    for row, cosine, error in zip(range(4), row_cosines(first, second), relative_errors(first, second)):
        one, other = first[row], second[row]
        length = math.sqrt(sum(x * x for x in one)) * math.sqrt(sum(x * x for x in other))
        if length:
            assert cosine == pytest.approx(sum(x * y for x, y in zip(one, other)) / length, abs=1e-9)
        else:
            assert cosine == (1.0 if not one.any() and not other.any() else 0.0)
        if other.any():
            expected = math.sqrt(sum((x - y) ** 2 for x, y in zip(one, other))) / math.sqrt(sum(x * x for x in other))
            assert error == pytest.approx(expected, rel=1e-9)
        else:
            assert error == (0.0 if not one.any() else math.inf)


def test_scale_is_seen_by_the_error_and_not_by_the_cosine():
    rows = np.random.default_rng(0).normal(size=(5, 8)) * 1e-9
    assert row_cosines(rows * 3, rows) == pytest.approx(np.ones(5))
    assert relative_errors(rows * 3, rows) == pytest.approx(np.full(5, 2.0))
    assert length_ratios(rows * 3, rows) == pytest.approx(np.full(5, 3.0))


def test_the_ratio_of_lengths_is_that_of_plain_loops():
    actual, expected = (
        np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]),
        np.array([[0.0, 10.0], [0.0, 0.0], [0.0, 0.0], [2.0, 0.0]]),
    )
    assert list(length_ratios(actual, expected)) == [0.5, 1.0, math.inf, 1.0]


def summed(actual, expected):
    return summary(row_cosines(actual, expected), relative_errors(actual, expected), length_ratios(actual, expected))


@pytest.mark.parametrize(("factor", "error"), [(2.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test_the_length_error_is_how_far_all_are_off_and_noise_hardly_moves_it(factor, error):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(400, 64))
    found = summed(factor * (rows + 0.2 * rng.normal(size=rows.shape)), rows)
    assert found["length_error"] == pytest.approx(error, abs=0.02 * factor + 0.02)
    assert found["relative_error_mean"] > 0.15


def test_a_few_rows_that_are_far_off_are_no_wrong_scale():
    rows = np.ones((9, 4))
    assert summed(np.concatenate([rows[:5], rows[5:] * 50]), rows)["length_error"] == 0.0


def test_rows_that_are_not_numbers_count_as_the_worst():
    found = summary(np.array([1.0, np.nan]), np.array([0.0, np.nan]), np.array([1.0, np.nan]))
    assert found["cosine_min"] == -1.0
    assert found["cosine_mean"] == 0.0
    assert found["relative_error_max"] == found["length_error"] == math.inf


def test_summary_of_nothing_is_nothing():
    assert set(summary(np.zeros(0), np.zeros(0), np.zeros(0)).values()) == {None}


def test_shapes_must_match():
    with pytest.raises(ValueError, match="one shape"):
        row_cosines(np.ones((2, 3)), np.ones((3, 2)))


def test_the_worst_of_several_summaries_is_chosen_key_by_key():
    rows = [
        {"cosine_min": 0.9, "relative_error_max": 0.1, "top1_agreement": None},
        {"cosine_min": 0.8, "relative_error_max": 0.05, "top1_agreement": 0.7},
    ]
    found = worst(rows)
    assert (found["cosine_min"], found["relative_error_max"], found["top1_agreement"]) == (0.8, 0.1, 0.7)
    assert found["cosine_mean"] is None and set(worst([]).values()) == {None}
    assert tuple(worst(rows, SUMMARY)) == SUMMARY
