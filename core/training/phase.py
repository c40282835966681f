"""One training phase, from built pieces to selected weights.

The loop: batch, teacher's answers, scheme, losses, backward, clipping, optimiser step, average, log; validation and
checkpoint where they are due. It knows the contracts and Accelerate; it names no technique. A phase that was
interrupted goes on from its checkpoint to the same weights, bit for bit on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import chain

import torch
from torch import Tensor

from edgefw.contracts.sampler import Pick, SampleTable
from edgefw.data.batches import StepData
from edgefw.errors import DataError
from edgefw.training.acceleration import mean_over_processes, sum_over_processes, thread_count
from edgefw.training.job import Callbacks, PhaseJob, PhaseLoss, PhaseResult
from edgefw.training.keeping import Keeping
from edgefw.training.mining import mining_file, table_with_embeddings, wants_unit, write_embeddings
from edgefw.training.nan_guard import Watched
from edgefw.training.objective import Terms
from edgefw.training.optimisers import forget_gradients, learning_rate, set_learning_rate
from edgefw.training.preparation import Prepared, check_job, prepare
from edgefw.training.random_state import seeded
from edgefw.training.steps import epoch_items, make_batch, make_plan, to_device
from edgefw.training.stopwatch import Stopwatch

__all__ = ["Callbacks", "PhaseJob", "PhaseLoss", "PhaseResult", "train_phase"]


def train_phase(job: PhaseJob) -> PhaseResult:
    """Train one phase, or finish one that was interrupted.

    Global random state and the number of threads are given back as they were.

    Raises:
        RecipeError: if the phase asks for what cannot be combined or computed; before any work is done.
        DataError: if the samples do not fill a step.
        TrainingError: if a loss is not a number, the device is not there, or the checkpoint does not fit.
    """
    check_job(job)
    with thread_count(job.compute.threads):
        prepared = prepare(job)
        try:
            with seeded(job.seed, job.phase.name, prepared.rank):
                return _Loop(prepared).run()
        finally:
            prepared.close()


class _Loop:
    """The walk through a phase."""

    def __init__(self, prepared: Prepared) -> None:
        self._job = prepared.job
        self._prepared = prepared
        self._accumulate = prepared.job.phase.accumulate
        self._reference_rows = float(prepared.job.phase.batch)
        table = SampleTable(size=len(self._job.data.ids), label=self._job.data.labels)
        self._plan = make_plan(self._job.phase, self._job.sampler, table, prepared.processes)
        self._table = table
        self._keeping = Keeping(prepared, self._plan)

    def run(self) -> PhaseResult:
        """Train to the end."""
        keeping, progress = self._keeping, self._keeping.progress
        finished = keeping.start()
        if finished is not None:
            return finished
        self._clock = Stopwatch(progress.seconds, progress.cpu_seconds)
        if self._prepared.is_main:
            self._job.callbacks.started(self._plan.steps, progress.step)
        self._prepared.objective.train()
        while not self._plan.over(progress.step, progress.epoch):
            self._epoch()
        return keeping.finish()

    def _epoch(self) -> None:
        progress, prepared = self._keeping.progress, self._prepared
        epoch = progress.epoch
        items = epoch_items(
            self._job.phase, self._batches(epoch), epoch, progress.done, prepared.rank, prepared.processes
        )
        first = next(items, None)
        self._keeping.sampler_report()
        if first is None:
            self._pass_over()
            return
        stream = prepared.loader.stream(chain([first], items))
        while progress.epoch == epoch:
            progress.advance(self._step(stream))
            progress.seconds, progress.cpu_seconds = self._clock.read()
            self._keeping.after_step(ended_epoch=progress.done == 0)
            if self._plan.over(progress.step, progress.epoch):
                return

    def _pass_over(self) -> None:
        """Leave out an epoch for which a mining sampler found nothing."""
        progress = self._keeping.progress
        if not self._job.sampler.needs_embeddings or self._plan.epochs is None or progress.done > 0:
            raise DataError(
                f"phase {self._job.phase.name}: the sampler formed no full step in epoch {progress.epoch + 1}."
            )
        progress.epoch += 1

    def _batches(self, epoch: int) -> Iterator[Sequence[Pick]]:
        job, prepared = self._job, self._prepared
        table = self._table
        if job.sampler.needs_embeddings:
            path = mining_file(job.folder, epoch)
            if prepared.is_main and not path.is_file():
                network = prepared.objective.network
                unit = wants_unit(job.sampler)
                write_embeddings(path, network, job.scheme, job.data, epoch=epoch, device=prepared.device, unit=unit)
            prepared.accelerator.wait_for_everyone()
            table = table_with_embeddings(path, job.data)
        return job.sampler.batches(table, job.phase.batch * prepared.processes, epoch, job.seed)

    def _step(self, stream: Iterator[tuple[StepData, bool]]) -> bool:
        """One optimiser step; whether it was the last one of its epoch."""
        prepared, progress = self._prepared, self._keeping.progress
        position = self._plan.position(progress.step, progress.epoch, progress.done)
        rate = learning_rate(self._job.phase.optimiser, position, self._plan.steps)
        set_learning_rate(prepared.optimiser, rate)
        found, samples, is_last = self._gradients(stream)
        factor = self._rescale(found)
        norm = self._clip()
        prepared.guard.watch(
            Watched(progress.step + 1, progress.epoch, found[-1].total, [t.each for t in found], norm, samples)
        )
        if prepared.scaler is None:
            prepared.optimiser.step()
        else:
            prepared.scaler.step(prepared.optimiser)
            prepared.scaler.update()
        forget_gradients(prepared.parameters)
        if prepared.average is not None:
            prepared.average.update()
        if self._keeping.logs(progress.step + 1) or self._plan.over(progress.step + 1, progress.epoch + is_last):
            prepared.guard.look()
            self._keeping.log(self._values(found, factor), rate, norm)
        return is_last

    def _gradients(self, stream: Iterator[tuple[StepData, bool]]) -> tuple[list[Terms], list[Tensor], bool]:
        """Backward passes of the step's batches: what each gave, which samples it held, and if the epoch ends."""
        prepared, job, step = self._prepared, self._job, self._keeping.progress.step
        found: list[Terms] = []
        samples: list[Tensor] = []
        is_last = True
        for position in range(self._accumulate):
            loaded, is_last = next(stream)
            data = to_device(loaded, prepared.device)
            batch = make_batch(job, data, prepared.targets)
            alone = position == self._accumulate - 1
            with nullcontext() if alone else prepared.accelerator.no_sync(prepared.wrapped):
                terms: Terms = prepared.wrapped(batch, step, self._accumulate == 1)
                total = terms.total if self._accumulate == 1 else terms.total * (terms.rows / self._reference_rows)
                (total if prepared.scaler is None else prepared.scaler.scale(total)).backward()
            found.append(terms)
            samples.append(data.sample)
        return found, samples, is_last

    def _rescale(self, found: Sequence[Terms]) -> float:
        """Turn accumulated sums over rows into means over all rows of all batches and processes; the factor."""
        if self._accumulate == 1:
            return 1.0
        prepared = self._prepared
        rows = torch.tensor(float(sum(terms.rows for terms in found)), device=prepared.device)
        every = float(sum_over_processes(rows, prepared.processes))
        factor = prepared.processes * self._reference_rows / max(1.0, every)
        torch._foreach_mul_([p.grad for p in prepared.parameters if p.grad is not None], factor)
        return factor

    def _clip(self) -> Tensor | None:
        prepared, clip = self._prepared, self._job.phase.clip
        if clip is None:
            return None
        if prepared.scaler is not None:
            prepared.scaler.unscale_(prepared.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(prepared.parameters, clip)
        return norm if prepared.scaler is None else None

    def _values(self, found: Sequence[Terms], factor: float) -> list[float]:
        """The step's loss and its terms, over all batches and processes."""
        tables = [torch.stack([terms.total.detach(), *terms.each]) for terms in found]
        if self._accumulate > 1:
            weights = [terms.rows / self._reference_rows * factor for terms in found]
            tables = [table * weight for table, weight in zip(tables, weights)]
        total = tables[0] if len(tables) == 1 else torch.stack(tables).sum(dim=0)
        return [float(value) for value in mean_over_processes(total, self._prepared.processes).tolist()]
