"""Everything a phase's loop works with, put together in the one order that works.

Quantizer, scheme, device, losses and adversaries, data-parallel wrapping, optimiser, average, teacher answers. It
checks first whether what the phase asks for can be combined, and says why not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgefw.data.teacher_cache import OnlineTargets, TeacherCache
from edgefw.data.workers import Loader
from edgefw.errors import RecipeError
from edgefw.training.acceleration import accelerator
from edgefw.training.adversary import Adversaries
from edgefw.training.assemble import assemble
from edgefw.training.ema import WeightAverage
from edgefw.training.nan_guard import NanGuard
from edgefw.training.objective import Objective
from edgefw.training.optimisers import make_optimiser
from edgefw.training.suspects import Suspects
from edgefw.training.validation import Validator, check_selection

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.nn import Parameter

    from edgefw.contracts.sampler import Pick
    from edgefw.data.batches import StepData, StepSource
    from edgefw.training.job import PhaseJob
    from edgefw.training.steps import Item, Targets

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
"""Convolutions hand on the order of their weights, so turning those turns every map of a network."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The parts of a running phase.

    `wrapped` is `objective` inside what data-parallel training adds; `rank` of `processes` is this process; `scaler`
    scales fp16 gradients. Facts of the accelerator are copied here: asking it costs microseconds in every step.
    """

    job: PhaseJob
    accelerator: Accelerator
    device: torch.device
    rank: int
    processes: int
    is_main: bool
    scaler: Any
    objective: Objective
    wrapped: nn.Module
    optimiser: torch.optim.Optimizer
    parameters: list[Parameter]
    adversaries: Adversaries
    average: WeightAverage | None
    targets: Targets
    loader: Loader[Item, tuple[StepData, bool]]
    guard: NanGuard
    validator: Validator | None

    def close(self) -> None:
        """End the loader processes."""
        self.loader.close()
        if self.validator is not None:
            self.validator.close()


def check_job(job: PhaseJob) -> None:
    """Refuse what cannot be combined, before any work is done.

    Raises:
        RecipeError: with the loss or key, the reason and a way out.
    """
    names = [loss.name for loss in job.losses]
    if len(set(names)) != len(names):
        raise RecipeError(f"{job.path}.losses: two losses share a name ({', '.join(names)}). Give each its own.")
    if job.phase.accumulate > 1:
        for at, loss in enumerate(job.losses):
            _check_accumulation(job, at, loss.name, loss.module)
    if job.quantizer is not None and not getattr(job.scheme, "exports_prepared", True):
        raise RecipeError(
            f"{job.path}.quantizer: scheme '{job.phase.scheme.name}' exports parts that a training-time quantizer does not "
            f"reach. Take {job.path}.quantizer away and quantise the files instead: export.quantizers=[{{name: int8-static}}]."
        )
    check_selection(job)


def _check_accumulation(job: PhaseJob, at: int, name: str, module: nn.Module) -> None:
    where = f"{job.path}.losses[{at}]"
    if module.across_batch:
        raise RecipeError(
            f"{where}: loss '{name}' compares the rows of a batch with each other, so {job.phase.accumulate} batches "
            f"of {job.phase.batch} are not one of {job.phase.accumulate * job.phase.batch}. Set {job.path}.accumulate "
            "to 1 and use a larger batch, gradient_checkpointing, or more processes."
        )
    if hasattr(module, "adversary"):
        raise RecipeError(
            f"{where}: loss '{name}' has an adversary, which steps once per batch and not once per "
            f"{job.phase.accumulate} batches. Set {job.path}.accumulate to 1."
        )


def prepare(job: PhaseJob) -> Prepared:
    """Build the parts of a phase on its device."""
    made = accelerator(job.compute)
    device, processes = made.device, made.num_processes
    job = _on_device(job, device)
    if job.phase.gradient_checkpointing:
        job.student.set_gradient_checkpointing(True)  # type: ignore[operator]
    network = assemble(job.student, job.scheme, job.quantizer).to(device)
    network.to(memory_format=MEMORY_FORMATS[job.compute.memory_format])
    adversaries = _adversaries(job, device, processes)
    objective = Objective(
        network,
        job.losses,
        job.scheme,
        processes=processes,
        mixed=job.compute.precision != "fp32",
        adversaries=adversaries if len(adversaries) else None,
    ).to(device)
    wrapped = made.prepare_model(objective)
    optimiser = make_optimiser(job.phase.optimiser, objective, adversaries.parameters)
    targets = _targets(job, job.data, made, "train")
    return Prepared(
        job=job,
        accelerator=made,
        device=device,
        rank=made.process_index,
        processes=processes,
        is_main=made.is_main_process,
        scaler=made.scaler,
        objective=objective,
        wrapped=wrapped,
        optimiser=optimiser,
        parameters=[parameter for group in optimiser.param_groups for parameter in group["params"]],
        adversaries=adversaries,
        average=None if job.phase.ema is None else WeightAverage(network, job.phase.ema),
        targets=targets,
        loader=Loader(_Load(job.data, isinstance(targets, OnlineTargets)), job.compute.workers, device.type == "cuda"),
        guard=_guard(job, targets, device, processes),
        validator=_validator(job, objective, made),
    )


def _on_device(job: PhaseJob, device: torch.device) -> PhaseJob:
    """The job with its frozen parts where the work is done."""
    for module in (job.teacher.module, job.reference):
        if module is not None:
            module.to(device).eval().requires_grad_(False)
    return replace(job, text=None if job.text is None else job.text.to(device))


def _adversaries(job: PhaseJob, device: torch.device, processes: int) -> Adversaries:
    for loss in job.losses:
        loss.module.to(device)  # before their optimisers are made
    return Adversaries(job.losses, processes)


def _guard(job: PhaseJob, targets: Targets, device: torch.device, processes: int) -> NanGuard:
    patience = 1 if device.type == "cpu" else job.compute.log_every
    suspects = Suspects(job.data, targets, isinstance(targets, OnlineTargets))
    return NanGuard([loss.name for loss in job.losses], patience, suspects, processes)


def _validator(job: PhaseJob, objective: Objective, made: Accelerator) -> Validator | None:
    if job.validation is None:
        return None
    targets = _targets(job, job.validation, made, "val")
    load = _LoadFirst(job.validation, isinstance(targets, OnlineTargets))
    loader = Loader(load, job.compute.workers, made.device.type == "cuda")
    return Validator(job, objective, targets, loader, made.device, made.process_index, made.num_processes)


def _targets(job: PhaseJob, source: StepSource, made: Accelerator, split: str) -> Targets:
    """The teacher's answers about a split: from the cache the phase asks for, or asked in every step.

    Embeddings of the validation split are always stored: the same ones are needed at every validation.
    """
    if job.phase.cache is None and (split == "train" or job.want):
        return OnlineTargets(job.teacher, made.device, job.want)
    cache = TeacherCache(
        folder=job.cache or job.folder,
        teacher=job.teacher,
        source=source,
        want=job.want,
        dtype="float32" if job.phase.cache is None else job.phase.cache.dtype,
        device=made.device,
    )
    return _filled(job, cache, made, split)


def _filled(job: PhaseJob, cache: TeacherCache, made: Accelerator, split: str) -> Targets:
    def report(done: int, total: int) -> None:
        if made.is_main_process:
            job.callbacks.caching(done, total, split)

    if made.is_main_process:
        cache.tidy()
    made.wait_for_everyone()
    cache.fill(
        rank=made.process_index,
        world=made.num_processes,
        workers=job.compute.workers,
        progress=report,
    )
    made.wait_for_everyone()
    opened = cache.open()
    if opened is None:
        raise OSError(f"{cache.home}: teacher answers were written and cannot be read back. Is the disk failing?")
    return opened


@dataclass(frozen=True)
class _Load:
    source: StepSource
    pictures: bool

    def __call__(self, item: Item) -> tuple[StepData, bool]:
        return self.source.load(item.picks, item.epoch, self.pictures), item.is_last


@dataclass(frozen=True)
class _LoadFirst:
    source: StepSource
    pictures: bool

    def __call__(self, picks: Sequence[Pick]) -> StepData:
        return self.source.load(picks, 0, self.pictures)
