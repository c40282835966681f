"""Stops training at the first number that is none, and says which loss, which step and which samples.

On the CPU every step is looked at before the weights change. On a GPU looking means waiting for it, so steps are
remembered and looked at together, at the latest before anything is validated or saved: a checkpoint never holds
weights from after the fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from edgefw.errors import TrainingError


class Watched(NamedTuple):
    """What is remembered of a step: losses before weighting, gradient norm, and the sample indices of its batches."""

    step: int
    epoch: int
    total: Tensor
    each: Sequence[tuple[Tensor, ...]]
    norm: Tensor | None
    samples: Sequence[Tensor]


class NanGuard:
    """Watches the steps of a phase.

    Args:
        names: names of the losses.
        patience: steps that may wait to be looked at; 1 looks at each.
        suspects: from sample indices and epoch of a bad step to the ids to name, and a hint at what is wrong with them.
        processes: how many processes share a step; all stop together.
    """

    def __init__(
        self,
        names: Sequence[str],
        patience: int,
        suspects: Callable[[Sequence[int], int], tuple[Sequence[str], str]],
        processes: int = 1,
    ) -> None:
        self._names = names
        self._patience = patience
        self._suspects = suspects
        self._processes = processes
        self._waiting: list[Watched] = []

    def watch(self, watched: Watched) -> None:
        """Remember a step, and look if it is time."""
        if self._patience == 1 and self._processes == 1:
            norm = 0.0 if watched.norm is None else watched.norm.item()
            if not math.isfinite(watched.total.item()) or not math.isfinite(norm):
                self._stop(watched)
            return
        self._waiting.append(watched)
        if len(self._waiting) >= self._patience:
            self.look()

    def look(self) -> None:
        """Look at the remembered steps.

        Raises:
            TrainingError: if one of them was not a number.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        numbers = torch.stack([w.total.detach() if w.norm is None else w.total.detach() + w.norm for w in waiting])
        bad = (~numbers.isfinite()).to(torch.int32)
        if self._processes > 1:
            torch.distributed.all_reduce(bad, op=torch.distributed.ReduceOp.MAX)
        if bool(bad.any()):
            self._stop(waiting[int(bad.nonzero()[0])])

    def _stop(self, watched: Watched) -> None:
        losses = [name for at, name in enumerate(self._names) if any(not _finite(terms[at]) for terms in watched.each)]
        if losses:
            values = [[terms[self._names.index(name)].item() for terms in watched.each] for name in losses]
            what = ", ".join(
                f"loss '{name}' is {next(value for value in found if not math.isfinite(value))}"
                for name, found in zip(losses, values)
            )
        elif not _finite(watched.total):
            what = f"the weighted sum of the losses {', '.join(self._names)} is {watched.total.item()}"
        else:
            what = f"the gradient of the losses {', '.join(self._names)} is not a number, or another process's is"
        indices = [int(index) for batch in watched.samples for index in batch.tolist()]
        ids, hint = self._suspects(indices, watched.epoch)
        raise TrainingError(
            f"step {watched.step}: {what}. Samples: {_listed(ids)}. {hint}"
            "The last good checkpoint is kept. Lower optimiser.lr, or set clip."
        )


def _finite(value: Tensor) -> bool:
    return math.isfinite(value.item())


def _listed(ids: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(ids[:most])
    return shown if len(ids) <= most else f"{shown} and {len(ids) - most} more"
