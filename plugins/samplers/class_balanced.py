"""Every class equally often, by labels or pseudo-labels; rare ones are repeated.

Classes come in seeded rounds, each class once per round, so that within an epoch no class is drawn more than once
oftener than another one. Inside a class, samples come in seeded order and are repeated only when all of them have been
drawn. So of K classes each is expected in 1/K of the places, and a sample of a class of n in T/(K n) of an epoch's T
places: the weight that "balanced" weighting gives it (King and Zeng 2001, Logistic Regression in Rare Events Data).

An epoch is as long as with `shuffle` on the labelled samples. Samples without a label (-1) are never drawn; a run
without any label is refused: give the data set labels, or add `curate` for pseudo-labels. The draw is a pure function
of (labels, batch, epoch, seed).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

import edgefw
from edgefw.contracts.sampler import Pick, SampleTable
from edgefw.errors import DataError

if TYPE_CHECKING:
    from edgefw.registry.technique import Register


class ClassBalanced:
    """Rounds of classes, see `edgefw.contracts.sampler.Sampler`."""

    needs_embeddings = False

    def batches(self, table: SampleTable, batch: int, epoch: int, seed: int) -> Iterator[Sequence[Pick]]:
        """Full batches; a sample of a rare class may come twice in one.

        Raises:
            DataError: without any label, or when fewer samples are labelled than `batch`.
        """
        labels = _labels(table, batch)
        rng = np.random.default_rng([seed, epoch])
        order = _order(labels, (labels >= 0).sum() // batch * batch, rng)
        for start in range(0, len(order), batch):
            yield [Pick(index=int(index)) for index in order[start : start + batch]]

    def length(self, table: SampleTable, batch: int) -> int:
        """Full batches per epoch; 0 without labels."""
        return 0 if table.label is None else int((table.label >= 0).sum()) // batch


def _labels(table: SampleTable, batch: int) -> np.ndarray:
    if table.label is None or not (table.label >= 0).any():
        raise DataError(
            "sampler 'class-balanced': no sample has a label. Give the data set labels, add curate for pseudo-labels, "
            "or use the sampler 'shuffle'."
        )
    labelled = int((table.label >= 0).sum())
    if labelled < batch:
        raise DataError(f"sampler 'class-balanced': {labelled} labelled samples fill no batch of {batch}.")
    return table.label


def _order(labels: np.ndarray, places: int, rng: np.random.Generator) -> np.ndarray:
    classes = np.unique(labels[labels >= 0])
    rounds = -(-places // len(classes))
    turns = np.concatenate([rng.permutation(len(classes)) for _ in range(rounds)])[:places]
    order = np.empty(places, np.int64)
    for position, label in enumerate(classes):
        mine = turns == position
        order[mine] = _repeated(np.flatnonzero(labels == label), int(mine.sum()), rng)
    return order


def _repeated(members: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    passes = -(-count // len(members))
    orders = [rng.permutation(members) for _ in range(passes)]
    return np.concatenate(orders)[:count] if orders else members[:0]


def build(config: edgefw.NoOptions, context: edgefw.BuildContext) -> ClassBalanced:
    """The sampler; it has no options."""
    return ClassBalanced()


@edgefw.hookimpl
def edgefw_register_samplers(register: Register) -> None:
    """Offer `class-balanced`."""
    register(edgefw.Technique(name="class-balanced", config=edgefw.NoOptions, build=build))
