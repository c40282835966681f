"""Semi-hard mining against a loop over all pairs, on 1,000 random cases; the groups; what is counted and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgefw
from edgefw.contracts.sampler import Pick, SampleTable
from edgefw.errors import DataError
from edgefw.plugins.samplers.semi_hard_triplet import SemiHardTriplet, SemiHardTripletConfig, build
from edgefw.plugins.samplers.triplet_mining import Rules, mine

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures"))

from triplets_by_loops import triplets_by_loops


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, Rules]:
    """A random case: 1 to 16 samples of 1 to 5 labels, some of them equal, and random rules."""
    rng = np.random.default_rng(seed)
    size, labels = int(rng.integers(1, 17)), int(rng.integers(1, 6))
    embedding = rng.normal(size=(size, int(rng.integers(2, 9)))) * rng.choice([0.1, 1.0, 30.0])
    embedding[rng.integers(0, size, size // 4)] = embedding[0]
    rules = Rules(
        margin=float(rng.choice([0.05, 0.3, 1.0, 20.0])),
        negatives=int(rng.integers(1, 6)),
        positive=str(rng.choice(["easy", "hard", "random"])),
        empty=str(rng.choice(["skip", "closest", "random"])),
    )
    return unit(embedding) if rng.random() < 0.7 else embedding.astype(np.float32), rng.integers(0, labels, size), rules


def sampler(**options: object) -> SemiHardTriplet:
    return build(SemiHardTripletConfig(**options), edgefw.BuildContext())


def table(label: np.ndarray, seed: int = 0, width: int = 6) -> SampleTable:
    embedding = unit(np.random.default_rng(seed).normal(size=(len(label), width)))
    return SampleTable(size=len(label), label=label, embedding=embedding)


def groups(batch: list[Pick]) -> list[list[Pick]]:
    found: dict[int, list[Pick]] = {}
    for pick in batch:
        found.setdefault(pick.group, []).append(pick)
    return list(found.values())


def test_a_thousand_random_cases_equal_the_loop() -> None:
    chosen = 0
    for seed in range(1000):
        embedding, label, rules = drawn(seed)
        got = mine(embedding, label, rules, (seed, 3), cells=int(1 + seed % 60))
        expected = triplets_by_loops(embedding, label, rules, (seed, 3))
        for at, (positive, negatives, filled) in enumerate(expected):
            assert got.positive[at] == positive, f"case {seed}, anchor {at}"
            assert got.negatives[at][got.negatives[at] >= 0].tolist() == negatives, f"case {seed}, anchor {at}"
            assert got.filled[at] == filled, f"case {seed}, anchor {at}"
            chosen += len(negatives)
    assert chosen > 5_000


def test_the_size_of_blocks_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    embedding, label = unit(rng.normal(size=(200, 16))), rng.integers(0, 8, 200)
    rules = Rules(margin=0.3, negatives=3, positive="random")
    whole, parts = mine(embedding, label, rules, (0, 0)), mine(embedding, label, rules, (0, 0), cells=700)
    np.testing.assert_array_equal(whole.positive, parts.positive)
    np.testing.assert_array_equal(whole.negatives, parts.negatives)


def test_a_table_wider_than_one_product_equals_the_loop() -> None:
    rng = np.random.default_rng(4)
    embedding, label = unit(rng.normal(size=(4500, 4))), rng.integers(0, 30, 4500)
    rules, some = Rules(margin=0.3, negatives=3), [0, 1, 4095, 4096, 4097, 4499]
    got = mine(embedding, label, rules, (4, 0))
    expected = triplets_by_loops(embedding, label, rules, (4, 0), some)
    assert [(got.positive[at], got.negatives[at].tolist()) for at in some] == [row[:2] for row in expected]


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_every_group_is_what_the_band_says(seed: int, epoch: int) -> None:
    label = np.random.default_rng(seed).integers(-1, 4, 40)
    here = table(label, seed)
    batches = list(sampler().batches(here, 4, epoch, seed)) if sampler().length(here, 4) else []
    for batch in batches:
        assert [found[0].group for found in groups(batch)] == [0, 1, 2, 3]
        for anchor, positive, *negatives in groups(batch):
            assert (anchor.role, positive.role) == (0, 1)
            assert [pick.role for pick in negatives] == list(range(2, 2 + len(negatives))) and 1 <= len(negatives) <= 3
            assert label[anchor.index] == label[positive.index] >= 0
            near = np.linalg.norm(here.embedding[anchor.index] - here.embedding[positive.index])
            for pick in negatives:
                assert label[pick.index] not in (label[anchor.index], -1)
                far = np.linalg.norm(here.embedding[anchor.index] - here.embedding[pick.index])
                assert near - 1e-5 < far < near + 0.3 + 1e-5


def test_an_anchor_comes_once_per_epoch_and_epochs_differ() -> None:
    here = table(np.arange(60) % 4)
    first, second = (
        [pick.index for batch in sampler().batches(here, 4, epoch, 0) for pick in batch if pick.role == 0]
        for epoch in (0, 1)
    )
    assert len(set(first)) == len(first) > 40 and first != second


def test_negatives_of_the_band_are_drawn_alike_over_the_epochs() -> None:
    """An anchor with a positive beside it and 20 negatives in its band: each is drawn 1,000 x 3 / 20 times."""
    rng = np.random.default_rng(0)
    ring = np.column_stack([np.ones(20), 0.5 * unit(rng.normal(size=(20, 5)))])
    embedding = unit(np.concatenate([[[1, 0, 0, 0, 0, 0]], [[1, 0.2, 0, 0, 0, 0]], ring]))
    label = np.array([0, 0, *range(1, 21)])
    counts = np.zeros(22)
    for epoch in range(1000):
        found = mine(embedding, label, Rules(margin=0.4, negatives=3), (0, epoch))
        counts[found.negatives[0]] += 1
    assert counts[:2].sum() == 0 and counts[2:] == pytest.approx(150, abs=50)


def test_the_report_counts_every_labelled_sample() -> None:
    label = np.array([0] * 10 + [1] * 10 + [2, -1, -1])
    mining = sampler(margin=0.05)
    batches = list(mining.batches(table(label, 3), 2, 0, 0))
    report = mining.report()
    assert report["samples"] == 21 and report["without_positive"] == 1 and report["without_negative"] > 0
    assert report["anchors"] + report["without_positive"] + report["without_negative"] == 21
    assert report["anchors"] == 2 * len(batches) + report["left_over"] and report["filled"] == 0
    drawn = sum(pick.role > 1 for batch in batches for pick in batch)
    assert report["left_over"] or report["negatives"] == pytest.approx(drawn / report["anchors"])


@pytest.mark.parametrize("empty", ["closest", "random"])
def test_an_empty_band_can_be_filled(empty: str) -> None:
    label = np.repeat([0, 1], 10)
    embedding = unit(np.eye(2)[label] + np.random.default_rng(0).normal(0, 0.01, (20, 2)))
    here = SampleTable(size=20, label=label, embedding=embedding)
    with pytest.raises(DataError, match="0 of 20 labelled samples have a triplet.*set empty: closest"):
        list(sampler(margin=0.1).batches(here, 4, 0, 0))
    mining = sampler(margin=0.1, empty=empty)
    assert len(list(mining.batches(here, 4, 0, 0))) == 5
    assert mining.report()["filled"] == mining.report()["anchors"] == 20


def test_after_the_first_epoch_nothing_found_is_an_empty_epoch() -> None:
    label = np.repeat([0, 1], 10)
    here = SampleTable(size=20, label=label, embedding=np.eye(2, dtype=np.float32)[label])
    mining = sampler(margin=0.1)
    assert list(mining.batches(here, 4, 1, 0)) == []
    assert mining.report()["without_negative"] == 20


@given(seed=st.integers(0, 2**31), batch=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_length_is_never_exceeded(seed: int, batch: int) -> None:
    here = table(np.random.default_rng(seed).integers(-1, 12, 30), seed)
    try:
        found = len(list(sampler(margin=2.0, empty="random").batches(here, batch, 0, 0)))
    except DataError:
        found = 0
    assert found <= sampler().length(here, batch)


@pytest.mark.parametrize(
    "label, message",
    [
        (None, "no sample has a label. Add curate for pseudo-labels"),
        (np.full(9, -1), "no sample has a label. Add curate for pseudo-labels"),
        (np.full(9, 3), "all 9 labelled samples have one and the same label"),
        (np.arange(9), "all 9 labelled samples have labels that no other sample has"),
    ],
)
def test_labels_that_give_no_triplet_are_a_data_error(label: np.ndarray | None, message: str) -> None:
    here = SampleTable(size=9, label=label, embedding=np.ones((9, 2), np.float32))
    assert sampler().length(here, 4) == 0
    with pytest.raises(DataError, match=message):
        next(iter(sampler().batches(here, 4, 0, 0)))


def test_mining_as_released_asks_for_embeddings_as_they_are() -> None:
    assert sampler().unit_embeddings is True
    assert sampler(normalise=False).unit_embeddings is False
