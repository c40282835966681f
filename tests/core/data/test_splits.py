"""Drawn splits: stable, seeded, and with the shares asked for."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgefw.data.splits import Fractions, drawn_split, hashed_place


def test_the_shares_are_met_on_average() -> None:
    counts = Counter(
        drawn_split(f"cat/{index}.jpg", Fractions(train=0.7, val=0.2, test=0.1), 3) for index in range(9000)
    )
    assert counts["train"] == pytest.approx(6300, rel=0.03)
    assert counts["val"] == pytest.approx(1800, rel=0.06)
    assert counts["test"] == pytest.approx(900, rel=0.1)


def test_a_known_name_keeps_its_place_for_ever() -> None:
    assert hashed_place("cat/1.jpg", 0) == 0.06443786045240196


@given(st.text(), st.integers(0, 2**40))
def test_every_name_has_one_split(name: str, seed: int) -> None:
    assert drawn_split(name, Fractions(), seed) in ("train", "val", "test")
    assert drawn_split(name, Fractions(train=1, val=0, test=0), seed) == "train"
    assert drawn_split(name, Fractions(train=0, val=0, test=1), seed) == "test"
    assert drawn_split(name, Fractions(train=0.5, val=0.5, test=0), seed) != "test"


def test_another_seed_draws_another_split() -> None:
    names = [str(index) for index in range(200)]
    assert [drawn_split(name, Fractions(), 0) for name in names] != [
        drawn_split(name, Fractions(), 1) for name in names
    ]


def test_shares_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ValidationError, match="must sum to 1, they sum to 1.1"):
        Fractions(train=0.8, val=0.2, test=0.1)
