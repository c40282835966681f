"""Every sample once per epoch, as a group of views: the clean one and varied ones.

The order of samples is that of `shuffle`. Each pick carries the number of its view, which is also its role: 0 is the
clean view, 1 to `views` - 1 are varied, each with a draw of its own. So a loss can hold the views of a sample against each
other (`view-consistency`), or have them told apart (`view-adversarial`). `batch` counts samples: a batch has `views` times
as many images per modality, and the groups of a batch stay on one process.

A view that provides `clean` (`multi-view`) shows number 0 as it is; with any other one the views are as many draws of it.
Does not: draw a view, or teach anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

import edgefw
from edgefw.contracts.sampler import Pick, SampleTable
from edgefw.errors import DataError

if TYPE_CHECKING:
    from edgefw.registry.technique import Register


class ViewGroupsConfig(edgefw.TechniqueConfig):
    """How large a group is."""

    views: int = Field(default=2, ge=2, le=16, description="views of each sample in a batch, the clean one included")


class ViewGroups:
    """Permutations of samples, each as several views; see `edgefw.contracts.sampler.Sampler`."""

    needs_embeddings = False

    def __init__(self, views: int) -> None:
        self.views = views

    def batches(self, table: SampleTable, batch: int, epoch: int, seed: int) -> Iterator[Sequence[Pick]]:
        """Full batches of `batch` samples, `views` picks each, one sample after the other.

        Raises:
            DataError: when there are fewer samples than `batch`.
        """
        if table.size < batch:
            raise DataError(
                f"sampler 'view-groups': {table.size} samples fill no batch of {batch}. Make batch smaller."
            )
        order = np.random.default_rng([seed, epoch]).permutation(table.size)
        for start in range(0, table.size - batch + 1, batch):
            yield [
                Pick(index=int(index), group=group, role=view, view=view)
                for group, index in enumerate(order[start : start + batch])
                for view in range(self.views)
            ]

    def length(self, table: SampleTable, batch: int) -> int:
        """Full batches per epoch."""
        return table.size // batch


def build(config: ViewGroupsConfig, context: edgefw.BuildContext) -> ViewGroups:
    """The sampler; it needs nothing from the context."""
    return ViewGroups(config.views)


@edgefw.hookimpl
def edgefw_register_samplers(register: Register) -> None:
    """Offer `view-groups`."""
    register(edgefw.Technique(name="view-groups", config=ViewGroupsConfig, build=build, provides=frozenset({"views"})))
