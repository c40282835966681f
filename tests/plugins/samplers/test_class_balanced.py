"""The class-balanced sampler: equal classes, and what happens without labels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from edgefw.contracts.sampler import SampleTable
from edgefw.errors import DataError
from edgefw.plugins.samplers.class_balanced import ClassBalanced

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures"))

from samplers_by_loops import balanced


def drawn(labels: np.ndarray, batch: int, epoch: int = 0, seed: int = 0) -> np.ndarray:
    table = SampleTable(size=len(labels), label=labels)
    batches = [[pick.index for pick in picks] for picks in ClassBalanced().batches(table, batch, epoch, seed)]
    assert all(len(indices) == batch for indices in batches)
    assert len(batches) == ClassBalanced().length(table, batch)
    return np.array(batches).ravel()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, 6), min_size=1, max_size=120), st.integers(1, 16), st.integers(0, 9))
def test_no_class_is_drawn_more_than_once_oftener_than_another(labels: list[int], batch: int, seed: int) -> None:
    array = np.array(labels)
    if (array >= 0).sum() < batch:
        return
    picked = array[drawn(array, batch, seed=seed)]
    counts = [int((picked == label).sum()) for label in np.unique(array[array >= 0])]
    assert (picked >= 0).all() and max(counts) - min(counts) <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, 6), min_size=1, max_size=120), st.integers(1, 16), st.integers(0, 9), st.integers(0, 9))
def test_the_draw_equals_dealing_packs_of_cards(labels: list[int], batch: int, epoch: int, seed: int) -> None:
    if sum(label >= 0 for label in labels) < batch:
        return
    expected = balanced(labels, batch, epoch, seed)
    assert drawn(np.array(labels), batch, epoch, seed).tolist() == [at for indices in expected for at in indices]


def test_samples_are_expected_as_often_as_balanced_weights_say() -> None:
    labels = np.repeat([0, 1, 2], [60, 10, 20])
    epochs = 300
    counts = np.bincount(np.concatenate([drawn(labels, 9, epoch) for epoch in range(epochs)]), minlength=90) / epochs
    expected = compute_sample_weight("balanced", labels)
    np.testing.assert_allclose(counts, expected, rtol=0.25)
    for label in range(3):
        assert counts[labels == label].sum() == pytest.approx(30, abs=0.01)


def test_a_sample_is_repeated_only_after_its_class_is_used_up() -> None:
    labels = np.repeat([0, 1], [12, 4])
    counts = np.bincount(drawn(labels, 8), minlength=16)
    assert set(counts[labels == 1]) == {2} and counts[labels == 0].max() == 1


def test_the_draw_is_a_function_of_its_arguments() -> None:
    labels = np.arange(50) % 7
    np.testing.assert_array_equal(drawn(labels, 8, 2, 5), drawn(labels, 8, 2, 5))
    assert (drawn(labels, 8, 2, 5) != drawn(labels, 8, 3, 5)).any()


@pytest.mark.parametrize("labels", [None, np.full(20, -1)])
def test_without_labels_it_says_what_to_do(labels: np.ndarray | None) -> None:
    table = SampleTable(size=20, label=labels)
    assert ClassBalanced().length(table, 4) == 0
    with pytest.raises(DataError, match="no sample has a label.*add curate for pseudo-labels"):
        next(iter(ClassBalanced().batches(table, 4, 0, 0)))


def test_too_few_labelled_samples_are_a_data_error() -> None:
    with pytest.raises(DataError, match="2 labelled samples fill no batch of 4"):
        next(iter(ClassBalanced().batches(SampleTable(size=9, label=np.array([0, 1] + [-1] * 7)), 4, 0, 0)))
