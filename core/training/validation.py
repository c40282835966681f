"""The student on the validation split: its loss, its zero-shot accuracy, its agreement with the teacher.

Images are seen as evaluation sees them, without augmentation. Processes take turns at the batches and add up what
they found, so the values do not depend on how many there are. Only the split it is given is ever looked at; which
weights of a phase are kept depends on this file and on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgefw.contracts.sampler import Pick
from edgefw.contracts.scheme import Choosing
from edgefw.errors import RecipeError
from edgefw.training.acceleration import sum_over_processes
from edgefw.training.steps import make_batch, to_device

if TYPE_CHECKING:
    from edgefw.contracts.scheme import Batch, Scheme
    from edgefw.data.batches import StepData
    from edgefw.data.workers import Loader
    from edgefw.training.job import PhaseJob
    from edgefw.training.objective import Objective
    from edgefw.training.steps import Targets


def check_selection(job: PhaseJob) -> None:
    """Refuse a `select.by` that cannot be computed, before any work is done.

    Raises:
        RecipeError: naming what is missing, and what can be selected by.
    """
    by, path = job.phase.select.by, f"{job.path}.select.by"
    if by == "last":
        return
    if job.validation is None:
        raise RecipeError(f"{path}: '{by}' needs a validation split, and the data has none. Add one, or use 'last'.")
    if by == "loss" and not measured(job):
        raise RecipeError(
            f"{path}: 'loss' cannot be measured on the validation split: {', '.join(loss.name for loss in job.losses)} "
            "compares groups, which only the sampler of the training split forms. Use 'agreement', 'accuracy' or 'last'."
        )
    if by in ("accuracy", "agreement") and job.evaluation_text is None:
        raise RecipeError(f"{path}: '{by}' needs label names. Give evaluate.labels, or use 'loss'.")
    if by == "accuracy" and not _any_label(job.validation.labels):
        raise RecipeError(
            f"{path}: 'accuracy' needs labels, and no validation sample has one that is among evaluate.labels. "
            "Use 'agreement' or 'loss'."
        )


def measured(job: PhaseJob) -> set[str]:
    """Names of the losses that have a value on the validation split: those that need no groups of a sampler."""
    return {loss.name for loss in job.losses if not getattr(loss.module, "over_groups", False)}


class Validator:
    """Computes the values of one validation.

    Args:
        job: the phase; `job.validation` must be there.
        objective: network and losses, not wrapped for data-parallel training.
        targets: the teacher's answers about the validation split.
        loader: loads validation batches.
        device, rank, processes: where this process stands.
    """

    def __init__(
        self,
        job: PhaseJob,
        objective: Objective,
        targets: Targets,
        loader: Loader[Sequence[Pick], StepData],
        device: torch.device,
        rank: int,
        processes: int,
    ) -> None:
        assert job.validation is not None
        self._job = job
        self._objective = objective
        self._targets = targets
        self._loader = loader
        self._device = device
        self._processes = processes
        self._measured = measured(job)
        batch, size = job.phase.batch * processes, len(job.validation.ids)
        picks = [
            [Pick(index=index) for index in range(first, min(first + batch, size))] for first in range(0, size, batch)
        ]
        self._picks = picks[rank::processes]
        text = job.evaluation_text
        self._text = None if text is None else functional.normalize(text.float(), dim=-1).to(device)
        labels = job.validation.labels
        self._truth = None if labels is None else torch.as_tensor(labels)

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """{"loss", each loss by name as "loss/<name>", "accuracy", "accuracy/<modality>", "agreement", ...}.

        Accuracies and agreements are fractions; those over all modalities are means of the modalities'.
        """
        self._objective.eval()
        sums: dict[str, Tensor] = {}
        for step in self._loader.stream(self._picks):
            batch = make_batch(self._job, to_device(step, self._device), self._targets)
            for name, value in {**self._losses(batch), **self._hits(batch, step)}.items():
                sums[name] = sums[name] + value if name in sums else value
        self._objective.train()
        return self._means(self._summed(sums))

    def close(self) -> None:
        """End the loader processes."""
        self._loader.close()

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        if not _gives_rows(self._job.scheme, batch):
            return {}
        terms = self._objective(batch, together=False)
        if terms.rows == 0:
            return {}
        named = zip((loss.name for loss in self._job.losses), terms.each)
        values = {f"loss/{name}": value for name, value in named if name in self._measured}
        if values:
            values["loss"] = terms.total
        return {name: _weighed(value, terms.rows) for name, value in values.items()}

    def _hits(self, batch: Batch, step: StepData) -> dict[str, Tensor]:
        if self._text is None:
            return {}
        found = {}
        teacher = (batch.teacher.embedding @ self._text.T).argmax(dim=1)
        truth = None if self._truth is None else self._truth[step.sample].to(self._device)
        for name in self._modalities():
            present = batch.present[name]
            if not bool(present.any()):
                continue
            embedding = self._job.scheme.embed(self._objective.network, name, batch.images[name])
            student = (functional.normalize(embedding.float(), dim=-1) @ self._text.T).argmax(dim=1)
            found[f"agreement/{name}"] = _counted(student == teacher, present)
            if truth is not None:
                found[f"accuracy/{name}"] = _counted(student == truth, present & (truth >= 0))
        return found

    def _modalities(self) -> Sequence[str]:
        assert self._job.validation is not None
        signatures = self._job.scheme.signatures(self._job.validation.modalities)
        served = {name for signature in signatures for name in signature.serves}
        return [name for name in self._job.validation.modalities if name in served]

    def _summed(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = ["loss", *(f"loss/{loss.name}" for loss in self._job.losses)]
        names += [f"{what}/{name}" for what in ("agreement", "accuracy") for name in self._modalities()]
        zero = torch.zeros(2, dtype=torch.float64, device=self._device)
        table = torch.stack([sums.get(name, zero) for name in names])
        return dict(zip(names, sum_over_processes(table, self._processes).cpu()))

    def _means(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        values = {name: float(total / count) for name, (total, count) in sums.items() if count > 0}
        for what in ("agreement", "accuracy"):
            parts = [value for name, value in values.items() if name.startswith(f"{what}/")]
            if parts:
                values[what] = sum(parts) / len(parts)
        return values


def _gives_rows(scheme: Scheme, batch: Batch) -> bool:
    """Whether a batch has a sample that the scheme uses."""
    if not isinstance(scheme, Choosing):
        return True
    table = torch.stack(list(batch.present.values()), dim=1).tolist()
    return any(scheme.uses([name for name, there in zip(batch.present, row) if there]) for row in table)


def is_better(by: str, value: float, best: float | None) -> bool:
    """Whether a value beats the best so far: a lower loss, a higher accuracy or agreement. Ties keep the earlier."""
    if best is None:
        return True
    return value < best if by == "loss" else value > best


def cpu_state(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's state on the CPU, each tensor on its own."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in network.state_dict().items()}


def _weighed(value: Tensor, rows: int) -> Tensor:
    return torch.stack([value.double() * rows, torch.full_like(value, rows, dtype=torch.float64)])


def _counted(hits: Tensor, among: Tensor) -> Tensor:
    return torch.stack([(hits & among).sum(), among.sum()]).double()


def _any_label(labels: object) -> bool:
    return labels is not None and bool((torch.as_tensor(labels) >= 0).any())
