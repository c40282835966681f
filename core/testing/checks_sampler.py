"""Promises of a sampler, see `edgefw.contracts.sampler`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from edgefw.contracts.sampler import Pick, SampleTable
from edgefw.errors import DataError
from edgefw.testing.subject import Subject

SIZE, BATCH = 60, 6


def batches_are_full_and_in_range(subject: Subject) -> None:
    """Every batch has `batch` picks (anchors, for groups), each an index of the table."""
    for batch in [*_epoch(subject), *_epoch(subject, epoch=7, seed=3)]:
        anchors = [pick for pick in batch if pick.role == 0]
        assert len(anchors if _grouped(subject) else batch) == BATCH, f"{len(batch)} picks, {BATCH} asked for"
        assert all(0 <= pick.index < SIZE for pick in batch), "an index outside the table"


def an_epoch_is_a_pure_function(subject: Subject) -> None:
    """The same table, epoch and seed give the same batches, also after other epochs and with other random states."""
    sampler = subject.build()
    first = _epoch(subject, sampler, epoch=3, seed=5)
    _epoch(subject, sampler, epoch=4, seed=5)
    np.random.seed(99)
    assert _epoch(subject, sampler, epoch=3, seed=5) == first, "the same sampler gives other batches the second time"
    assert _epoch(subject, subject.build(), epoch=3, seed=5) == first, "another sampler gives other batches"


def length_is_the_number_of_batches(subject: Subject) -> None:
    """`length` is how many batches come; an upper bound for samplers that mine."""
    sampler = subject.build()
    stated, found = sampler.length(_table(subject), BATCH), len(_epoch(subject, sampler))
    exact = not sampler.needs_embeddings
    assert stated == found if exact else stated >= found, f"{stated} stated, {found} found"
    assert found, "no batch of an ordinary table"


def too_few_samples_are_an_error(subject: Subject) -> None:
    """When not one batch can be formed there is a DataError, not an empty epoch."""
    table = SampleTable(size=1, label=np.zeros(1, np.int64), embedding=np.ones((1, 4), np.float32))
    try:
        batches = list(subject.build().batches(table, 64, 0, 0))
    except DataError as error:
        assert str(error).strip()
    else:
        raise AssertionError(f"{len(batches)} batches of 64 from one sample, and no DataError")


def groups_are_tagged(subject: Subject) -> None:
    """A sampler of groups gives each group one anchor (role 0) and others; a plain one gives no roles."""
    for batch in _epoch(subject):
        if not _grouped(subject):
            assert all(pick.role == 0 for pick in batch), "roles, but the sampler does not provide groups"
            continue
        anchors = Counter(pick.group for pick in batch if pick.role == 0)
        assert set(anchors) == {pick.group for pick in batch} and set(anchors.values()) == {1}, f"anchors {anchors}"


CHECKS = (
    batches_are_full_and_in_range,
    an_epoch_is_a_pure_function,
    length_is_the_number_of_batches,
    too_few_samples_are_an_error,
    groups_are_tagged,
)


def _grouped(subject: Subject) -> bool:
    return bool({"groups", "views"} & subject.technique.provided(subject.config))


def _table(subject: Subject) -> SampleTable:
    """60 samples of 4 classes whose embeddings lie around their classes' centres."""
    draw = np.random.default_rng(0)
    label = draw.integers(0, 4, SIZE)
    embedding = np.eye(4, 8)[label] + draw.normal(0, 0.5, (SIZE, 8))
    embedding = (embedding / np.linalg.norm(embedding, axis=1, keepdims=True)).astype(np.float32)
    return SampleTable(size=SIZE, label=label, embedding=embedding if subject.piece.needs_embeddings else None)


def _epoch(subject: Subject, sampler: Any = None, epoch: int = 0, seed: int = 0) -> list[list[Pick]]:
    chosen = subject.build() if sampler is None else sampler
    return [list(batch) for batch in chosen.batches(_table(subject), BATCH, epoch, seed)]
