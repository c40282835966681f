"""Calibration against scikit-learn, and the bootstrap against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax as scipy_softmax
from scipy.stats import bootstrap
from sklearn.calibration import calibration_curve

from edgefw.evaluation import bootstrap_interval, expected_calibration_error, reliability, softmax


@pytest.mark.parametrize(("bins", "scale"), [(15, 1.0), (10, 5.0), (1, 2.0)])
def test_bins_equal_scikit_learns_calibration_curve(bins: int, scale: float) -> None:
    generator = np.random.default_rng(bins)
    labels = generator.integers(0, 6, 400)
    probabilities = softmax(generator.normal(size=(400, 6)) + np.eye(6)[labels], scale)
    right = probabilities.argmax(1) == labels
    accuracy, confidence = calibration_curve(right, probabilities.max(1), n_bins=bins)
    table = reliability(probabilities, labels, bins)
    np.testing.assert_allclose([row.accuracy for row in table], accuracy)
    np.testing.assert_allclose([row.confidence for row in table], confidence)
    weight = np.array([row.n for row in table]) / 400
    expected = float((weight * np.abs(accuracy - confidence)).sum())
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(expected)


def test_a_sure_and_right_model_has_no_error_and_a_sure_and_wrong_one_the_largest() -> None:
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0.0
    assert expected_calibration_error(np.eye(3), np.array([1, 2, 0])) == 1.0
    assert np.isnan(expected_calibration_error(np.eye(3), np.full(3, -1)))


@given(st.integers(0, 2**31), st.integers(1, 30))
def test_bins_hold_every_labelled_row_once(seed: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(-1, 4, 50)
    probabilities = softmax(generator.normal(size=(50, 4)), 3.0)
    table = reliability(probabilities, labels, bins)
    assert sum(row.n for row in table) == int((labels >= 0).sum())
    assert all(row.low <= row.confidence <= row.high for row in table)
    assert 0.0 <= expected_calibration_error(probabilities, labels, bins) <= 1.0 or not table


def test_bins_must_be_counted() -> None:
    with pytest.raises(ValueError, match="bins must be at least 1"):
        reliability(np.eye(2), np.arange(2), 0)


@given(st.integers(0, 2**31), st.sampled_from([0.01, 1.0, 100.0]))
def test_softmax_equals_scipy(seed: int, scale: float) -> None:
    scores = np.random.default_rng(seed).normal(size=(4, 5)) * 10
    np.testing.assert_allclose(softmax(scores, scale), scipy_softmax(scores * scale, axis=1), atol=1e-12)


def test_the_interval_equals_scipys_percentile_bootstrap() -> None:
    values = (np.random.default_rng(0).random(300) < 0.8).astype(float)
    ours = bootstrap_interval(values, draws=4000)
    other = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", random_state=1).confidence_interval
    assert ours == pytest.approx((other.low, other.high), abs=0.005)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for seed in range(200):
        low, high = bootstrap_interval((generator.random(200) < 0.7).astype(float), 0.9, 300, seed)
        covered += low <= 0.7 <= high
    assert 0.83 <= covered / 200 <= 0.96


def test_the_interval_repeats_and_tightens_and_knows_its_limits() -> None:
    values = np.random.default_rng(2).random(50)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    narrow, wide = bootstrap_interval(values, 0.5), bootstrap_interval(values, 0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert bootstrap_interval(np.ones(9)) == (1.0, 1.0)
    assert np.isnan(bootstrap_interval(np.zeros(0))).all()
    with pytest.raises(ValueError, match="level must lie between"):
        bootstrap_interval(values, 1.0)
