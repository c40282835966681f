"""Every sample once per epoch, in a new seeded order.

The order of an epoch is a pure function of (number of samples, seed, epoch): a resumed run draws what it would have
drawn. What does not fill a batch at the end of an epoch is dropped; another epoch drops other samples. Labels are not
looked at.
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


class Shuffle:
    """Permutations, see `edgefw.contracts.sampler.Sampler`."""

    needs_embeddings = False

    def batches(self, table: SampleTable, batch: int, epoch: int, seed: int) -> Iterator[Sequence[Pick]]:
        """Full batches of different samples.

        Raises:
            DataError: when there are fewer samples than `batch`.
        """
        if table.size < batch:
            raise DataError(f"sampler 'shuffle': {table.size} samples fill no batch of {batch}. Make batch smaller.")
        order = np.random.default_rng([seed, epoch]).permutation(table.size)
        for start in range(0, table.size - batch + 1, batch):
            yield [Pick(index=int(index)) for index in order[start : start + batch]]

    def length(self, table: SampleTable, batch: int) -> int:
        """Full batches per epoch."""
        return table.size // batch


def build(config: edgefw.NoOptions, context: edgefw.BuildContext) -> Shuffle:
    """The sampler; it has no options."""
    return Shuffle()


@edgefw.hookimpl
def edgefw_register_samplers(register: Register) -> None:
    """Offer `shuffle`."""
    register(edgefw.Technique(name="shuffle", config=edgefw.NoOptions, build=build))
