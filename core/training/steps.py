"""From the tensors of a step to the scheme's batch, and the plan of a phase in batches, steps and epochs.

It knows arithmetic and the contracts; the loop that walks through the plan is elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from edgefw.contracts.scheme import Batch
from edgefw.data.batches import StepData, rank_part
from edgefw.errors import DataError

if TYPE_CHECKING:
    from edgefw.contracts.sampler import Pick, Sampler, SampleTable
    from edgefw.contracts.teacher import TeacherOutput
    from edgefw.recipe.schema import Phase
    from edgefw.training.job import PhaseJob


class Targets(Protocol):
    """The teacher's answers about a step, from wherever they come."""

    def __call__(self, step: StepData) -> TeacherOutput:
        """The targets of a batch, on the device, without gradient."""
        ...


def to_device(step: StepData, device: torch.device) -> StepData:
    """A step's tensors on a device; sample indices stay on the CPU too, for reading a teacher cache."""
    if device.type == "cpu":
        return step

    def move(value: Tensor) -> Tensor:
        return value.to(device, non_blocking=True)

    return step._replace(
        images={name: move(value) for name, value in step.images.items()},
        present={name: move(value) for name, value in step.present.items()},
        label=move(step.label),
        role=move(step.role),
        group=move(step.group),
        pictures=None if step.pictures is None else move(step.pictures),
    )


def make_batch(job: PhaseJob, step: StepData, targets: Targets) -> Batch:
    """What a scheme is given: the step's tensors beside the teacher's answers."""
    device = step.label.device
    return Batch(
        images=step.images,
        present=step.present,
        teacher=targets(step),
        sample=step.sample if device.type == "cpu" else step.sample.to(device, non_blocking=True),
        label=step.label,
        role=step.role,
        group=step.group,
        logit_scale=job.teacher.spec.logit_scale,
        text=job.text,
        reference=job.reference,
    )


@dataclass(frozen=True)
class Plan:
    """How long a phase is.

    Attributes:
        per_epoch: optimiser steps of an epoch (an upper bound for samplers that mine).
        steps: optimiser steps of the phase (an upper bound likewise).
        epochs: passes over the data at most; None when steps decide.
    """

    per_epoch: int
    steps: int
    epochs: int | None

    def position(self, step: int, epoch: int, done: int) -> int:
        """Where step `step` stands on the schedule of `steps`; it is step `done` of its epoch, all counted from 0.

        Where epochs decide, each begins where a full one would: an epoch that mining made shorter leaves a gap, and the
        schedule does not lag behind.
        """
        return step if self.epochs is None else epoch * self.per_epoch + done

    def over(self, step: int, epoch: int) -> bool:
        """Whether the phase ends before step `step` of epoch `epoch` (both counted from 0)."""
        return step >= self.steps if self.epochs is None else epoch >= self.epochs


def make_plan(phase: Phase, sampler: Sampler, table: SampleTable, processes: int) -> Plan:
    """The plan of a phase.

    Raises:
        DataError: if the samples do not fill the batches of one optimiser step.
    """
    batches = sampler.length(table, phase.batch * processes)
    per_epoch = batches // phase.accumulate
    if per_epoch == 0:
        if batches == 0:
            made_up = replace(table, embedding=np.zeros((table.size, 1), np.float32))
            asked = made_up if sampler.needs_embeddings else table
            next(iter(sampler.batches(asked, phase.batch * processes, 0, 0)), None)  # it knows best what is missing
        raise DataError(
            f"phase {phase.name}: {table.size} samples give {batches} batches of {phase.batch} x {processes} processes, "
            f"and a step needs {phase.accumulate}. Use a smaller batch or accumulate, or more samples."
        )
    if phase.steps is not None:
        return Plan(per_epoch, phase.steps, None)
    assert phase.epochs is not None
    return Plan(per_epoch, per_epoch * phase.epochs, phase.epochs)


class Item(NamedTuple):
    """A batch to load: its epoch, its samples, and whether the epoch's last optimiser step needs it."""

    epoch: int
    picks: Sequence[Pick]
    is_last: bool


def epoch_items(
    phase: Phase, batches: Iterator[Sequence[Pick]], epoch: int, done: int, rank: int, processes: int
) -> Iterator[Item]:
    """This process's part of the batches of an epoch, in whole optimiser steps, one after the other.

    Args:
        batches: all batches of the epoch, from the sampler; only those of two steps are in memory.
        done: optimiser steps to leave out at the beginning.
    """
    steps = _whole_steps(batches, phase.accumulate)
    following = next(steps, None)
    while following is not None:
        group, following = following, next(steps, None)
        if done > 0:
            done -= 1
            continue
        for picks in group:
            yield Item(epoch, rank_part(picks, rank, processes), following is None)


def _whole_steps(batches: Iterator[Sequence[Pick]], size: int) -> Iterator[list[Sequence[Pick]]]:
    while len(group := list(islice(batches, size))) == size:
        yield group
