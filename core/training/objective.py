"""From a batch to one number: the scheme's rows, each loss on them, the weighted sum. One module, for one backward.

The network, the losses and their alignment projectors live in this module together, so that data-parallel training
averages the gradients of all of them. Under mixed precision the network runs in the low precision and the losses in
float32. In a run of several processes a loss across the batch sees the rows of all of them; the mean of any other
loss is weighted by how many of the rows are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from edgefw.training.attention import recording
from edgefw.training.gather import gather_input, row_counts

if TYPE_CHECKING:
    from edgefw.contracts.loss import LossInput
    from edgefw.contracts.scheme import Batch, Scheme
    from edgefw.contracts.student import StudentOutput
    from edgefw.training.adversary import Adversaries
    from edgefw.training.job import PhaseLoss


class Terms(NamedTuple):
    """The value of a batch.

    Attributes:
        total: weighted sum of the losses (), with gradient.
        each: values of the losses (), unweighted, without gradient, in the order of the recipe.
        rows: how many rows this process put in.
    """

    total: Tensor
    each: tuple[Tensor, ...]
    rows: int


class _Term(NamedTuple):
    """One summand: facts of its loss are read once, for asking a module costs microseconds in every step."""

    module: nn.Module
    projector: nn.Module | None
    weight: float
    across_batch: bool
    reads_attention: bool


class Objective(nn.Module):
    """The trained network with its losses.

    Args:
        network: what the scheme runs.
        losses: terms of the sum.
        scheme: makes rows of a batch.
        processes: how many processes share a step.
        mixed: whether the network runs in a lower precision than the losses.
        adversaries: second players, or None.
    """

    def __init__(
        self,
        network: nn.Module,
        losses: Sequence[PhaseLoss],
        scheme: Scheme,
        *,
        processes: int = 1,
        mixed: bool = False,
        adversaries: Adversaries | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.losses = nn.ModuleList([loss.module for loss in losses])
        self.projectors = nn.ModuleList([loss.projector or nn.Identity() for loss in losses])
        self._plan = [_term(loss) for loss in losses]
        self._scheme = scheme
        self._processes = processes
        self._mixed = mixed
        self._adversaries = adversaries
        self._records = any(term.reads_attention for term in self._plan)
        self._is_plain = not self._records and processes == 1 and all(term.projector is None for term in self._plan)

    def forward(self, batch: Batch, step: int = 0, together: bool = True) -> Terms:
        """The losses of a batch.

        Args:
            step: optimiser step, for the cadence of adversaries.
            together: False leaves the other processes out of it (validation, where each has batches of its own).
        """
        with recording(self.network, batch.reference) if self._records else nullcontext():
            inputs = self._scheme.forward(self.network, batch)
        if not self._mixed:
            return self._terms(inputs, step, together)
        with torch.autocast(inputs.student.embedding.device.type, enabled=False):
            return self._terms(_in_float32(inputs), step, together)

    def _terms(self, inputs: LossInput, step: int, together: bool) -> Terms:
        rows = inputs.student.embedding.shape[0]
        parallel = together and self._processes > 1
        counts = row_counts(rows, inputs.student.embedding.device) if parallel else [rows]
        share = rows * len(counts) / max(1, sum(counts))
        views = self._views(inputs, counts)
        if self._adversaries is not None and self.training:
            self._adversaries.step(step, views, share)
        values = [_value(term, view, share) for term, view in zip(self._plan, views)]
        weighted = [value if term.weight == 1.0 else value * term.weight for value, term in zip(values, self._plan)]
        total = weighted[0]
        for value in weighted[1:]:
            total = total + value
        return Terms(total, tuple(value.detach() for value in values), rows)

    def _views(self, inputs: LossInput, counts: list[int]) -> list[LossInput]:
        """What each loss sees: the rows of this process, or of all; the student's map aligned by its projector."""
        if self._is_plain:
            return [inputs] * len(self._plan)
        gathered: LossInput | None = None
        plain = _without_attention(inputs) if self._records else inputs
        seen = []
        for term in self._plan:
            view = inputs if term.reads_attention else plain
            view = view if term.projector is None else _aligned(view, term.projector)
            if term.across_batch and len(counts) > 1:
                if term.projector is not None or term.reads_attention:
                    view = gather_input(view, counts)
                else:
                    view = gathered = gathered or gather_input(plain, counts)
            seen.append(view)
        return seen


def _term(loss: PhaseLoss) -> _Term:
    module = loss.module
    reads = bool(getattr(module, "reads_attention", False))
    return _Term(module, loss.projector, loss.weight, bool(module.across_batch), reads)


def _value(term: _Term, view: LossInput, share: float) -> Tensor:
    if view.student.embedding.shape[0] == 0:
        return view.student.embedding.sum()  # no rows, no loss; keeps the graph connected
    value: Tensor = term.module(view)
    return value if term.across_batch or share == 1.0 else value * share


def _aligned(inputs: LossInput, projector: nn.Module) -> LossInput:
    given = (inputs.teacher,) if getattr(projector, "takes_teacher", False) else ()
    return replace(inputs, student=inputs.student._replace(map=projector(inputs.student.map, *given)))


def _outputs(inputs: LossInput) -> dict[str, StudentOutput]:
    given = {name: getattr(inputs, name) for name in ("student", "reference", "peer")}
    return {name: output for name, output in given.items() if output is not None}


def _without_attention(inputs: LossInput) -> LossInput:
    changed: dict[str, Any] = {name: output._replace(attention=None) for name, output in _outputs(inputs).items()}
    return replace(inputs, **changed)


def _in_float32(inputs: LossInput) -> LossInput:
    changed: dict[str, Any] = {name: output.each(_float) for name, output in _outputs(inputs).items()}
    return replace(inputs, **changed)


def _float(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
