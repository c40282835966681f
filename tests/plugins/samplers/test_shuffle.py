"""The shuffle sampler: a permutation per epoch, pure in its arguments."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.contracts.sampler import SampleTable
from edgefw.errors import DataError
from edgefw.plugins.samplers.shuffle import Shuffle

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures"))

from samplers_by_loops import shuffled


def drawn(size: int, batch: int, epoch: int = 0, seed: int = 0) -> list[list[int]]:
    return [[pick.index for pick in picks] for picks in Shuffle().batches(SampleTable(size=size), batch, epoch, seed)]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 1000), st.integers(0, 2**31 - 1))
def test_full_batches_of_different_samples(size: int, batch: int, epoch: int, seed: int) -> None:
    if batch > size:
        return
    batches = drawn(size, batch, epoch, seed)
    flat = [index for indices in batches for index in indices]
    assert all(len(indices) == batch for indices in batches)
    assert len(set(flat)) == len(flat) == size // batch * batch
    assert len(batches) == Shuffle().length(SampleTable(size=size), batch)
    assert batches == drawn(size, batch, epoch, seed) == shuffled(size, batch, epoch, seed)


def test_epochs_and_seeds_draw_differently() -> None:
    assert drawn(100, 10) != drawn(100, 10, epoch=1)
    assert drawn(100, 10) != drawn(100, 10, seed=1)
    assert drawn(100, 10, epoch=1, seed=0) != drawn(100, 10, epoch=0, seed=1)


def test_every_place_sees_every_sample_over_the_epochs() -> None:
    first = [drawn(10, 10, epoch)[0][0] for epoch in range(2000)]
    assert np.bincount(first, minlength=10) == pytest.approx(200, abs=70)


def test_too_few_samples_are_a_data_error() -> None:
    with pytest.raises(DataError, match="5 samples fill no batch of 32"):
        drawn(5, 32)
