"""What a phase leaves behind while it runs and when it ends: metrics, validations, checkpoints, selected weights.

Only the first process writes. The files of a phase's folder:

    metrics.jsonl          logged steps and validations
    checkpoint/            the newest checkpoint; removed when the phase is finished
    student.safetensors    the selected weights
    done.json              what the finished phase found; a finished phase is not trained again on resume
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgefw.contracts.sampler import Reporting
from edgefw.data.atomic_files import write_file
from edgefw.errors import TrainingError
from edgefw.training.checkpoints import Checkpoints
from edgefw.training.device_memory import DevicePeak
from edgefw.training.job import PhaseResult
from edgefw.training.metrics_log import MetricsLog
from edgefw.training.mining import remove_tables
from edgefw.training.random_state import random_state, set_random_state
from edgefw.training.validation import cpu_state, is_better

if TYPE_CHECKING:
    from edgefw.training.preparation import Prepared
    from edgefw.training.steps import Plan

SMALLEST_SCALE = 1e-4
"""A gradient scaler below this has skipped dozens of steps in a row."""


@dataclass
class Progress:
    """Where a phase stands: steps done in all, the running epoch (from 0), steps done in it, and the best so far."""

    step: int = 0
    epoch: int = 0
    done: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    device_peak_bytes: int | None = None
    losses: dict[str, float] = field(default_factory=dict)
    best_step: int = 0
    best_value: float | None = None
    best_validation: dict[str, float] = field(default_factory=dict)
    validated: int = -1

    def advance(self, is_last: bool) -> None:
        """Count a finished step; the epoch ends with its last one."""
        self.step += 1
        self.done += 1
        if is_last:
            self.epoch, self.done = self.epoch + 1, 0


class Keeping:
    """Keeps the files of one phase.

    Args:
        prepared: the running phase.
        plan: how long it is.
    """

    def __init__(self, prepared: Prepared, plan: Plan) -> None:
        self._prepared = prepared
        self._job = prepared.job
        self._plan = plan
        self._folder = prepared.job.folder
        self._owner = _owner(prepared)
        self._checkpoints = Checkpoints(self._folder / "checkpoint", self._owner)
        self._best: dict[str, Tensor] | None = None
        self._log: MetricsLog | None = None
        self.progress = Progress()

    @property
    def weights(self) -> Path:
        """The selected weights."""
        return self._folder / "student.safetensors"

    @property
    def metrics(self) -> Path:
        """The metrics of the phase."""
        return self._folder / "metrics.jsonl"

    # ---- beginning -----------------------------------------------------------------------------------------------

    def start(self) -> PhaseResult | None:
        """Go on where an interrupted run stopped, or begin; the result, if the phase is finished already."""
        finished = self._finished() if self._job.resume else None
        if finished is not None:
            return finished
        length = self._restore() if self._job.resume else None
        self._prepared.accelerator.wait_for_everyone()
        if self._prepared.is_main:
            self._folder.mkdir(parents=True, exist_ok=True)
            if length is None:
                self._clean()
            self._checkpoints.tidy()
            remove_tables(self._folder, after=self.progress.epoch)
            self._log = MetricsLog(self.metrics, self._job.phase.name, length or 0)
        self._peak = DevicePeak(self._prepared.device, self.progress.device_peak_bytes)
        return None

    def _clean(self) -> None:
        self._checkpoints.clear()
        shutil.rmtree(self._folder / "mining", ignore_errors=True)
        for path in (self.weights, self.metrics, self._folder / "done.json"):
            path.unlink(missing_ok=True)

    def _restore(self) -> int | None:
        """Load the newest checkpoint; how long the metrics file was then, or None without a checkpoint."""
        state = self._checkpoints.load()
        if state is None:
            return None
        prepared = self._prepared
        prepared.objective.load_state_dict(state["objective"])
        prepared.optimiser.load_state_dict(state["optimiser"])
        prepared.adversaries.load_state_dict(state["adversaries"])
        if prepared.scaler is not None:
            prepared.scaler.load_state_dict(state["scaler"])
        if prepared.average is not None:
            prepared.average.load_state_dict(state["average"])
        set_random_state(state["random"][prepared.rank])
        for name, value in state["progress"].items():
            setattr(self.progress, name, value)
        self._best = state["best"]
        length: int = state["metrics"]
        return length

    # ---- on the way ----------------------------------------------------------------------------------------------

    def logs(self, step: int) -> bool:
        """Whether a step is logged: the first, and every so many."""
        return step % self._job.compute.log_every == 0 or step == 1

    def log(self, values: Sequence[float], rate: float, norm: Tensor | None) -> None:
        """Log the step that was just made: [loss, each of its terms]."""
        names = [loss.name for loss in self._job.losses]
        losses = dict(zip(names, values[1:]))
        losses.update({name: float(value) for name, value in self._prepared.adversaries.values.items()})
        self.progress.losses = {"loss": values[0], **losses}
        self._check_scale()
        if self._log is None:
            return
        step, epoch = self.progress.step + 1, self.progress.epoch + 1
        facts = {"lr": rate} if norm is None else {"lr": rate, "gradient_norm": float(norm)}
        self._log.step(step, epoch, values[0], losses, {**facts, "seconds": round(self.progress.seconds, 3)})
        self._job.callbacks.step(step, {"loss": values[0], **losses, **facts, "epoch": float(epoch)})

    def sampler_report(self) -> None:
        """Log what the sampler says of the epoch, once: not again where a run goes on in the middle of it."""
        sampler, progress = self._job.sampler, self.progress
        if self._log is None or progress.done > 0 or not isinstance(sampler, Reporting):
            return
        values = {name: float(value) for name, value in sampler.report().items()}
        self._log.sampler(progress.step, progress.epoch + 1, values)
        self._job.callbacks.sampler(progress.step, values)

    def _check_scale(self) -> None:
        scaler = self._prepared.scaler
        if scaler is not None and scaler.get_scale() < SMALLEST_SCALE:
            raise TrainingError(
                f"step {self.progress.step + 1}: in fp16 the gradients overflow however they are scaled. "
                "Use compute.precision=bf16 or fp32, or lower optimiser.lr."
            )

    def after_step(self, *, ended_epoch: bool) -> None:
        """Validate and save where it is due."""
        step, job = self.progress.step, self._job
        every, saves = job.phase.select.every, job.compute.checkpoint_every
        if self._prepared.validator is not None and (ended_epoch if every is None else step % every == 0):
            self._validate()
        if ended_epoch if saves is None else step % saves == 0:
            self._save()

    def _validate(self) -> None:
        prepared, progress, by = self._prepared, self.progress, self._job.phase.select.by
        assert prepared.validator is not None
        prepared.guard.look()
        with prepared.average.applied() if prepared.average is not None else nullcontext():
            values = prepared.validator()
            better = by != "last" and is_better(by, values[by], progress.best_value)
            if better:
                self._best = cpu_state(prepared.objective.network)
        progress.validated = progress.step
        if better or by == "last":
            progress.best_step, progress.best_validation = progress.step, values
            progress.best_value = None if by == "last" else values[by]
        if self._log is not None:
            self._log.validation(progress.step, values)
            self._job.callbacks.validation(progress.step, values)

    def _save(self) -> None:
        prepared = self._prepared
        prepared.guard.look()
        random = gather_object([random_state()])
        self.progress.device_peak_bytes = self._peak.read()
        if prepared.is_main:
            assert self._log is not None
            state = {
                "progress": asdict(self.progress),
                "objective": prepared.objective.state_dict(),
                "optimiser": prepared.optimiser.state_dict(),
                "adversaries": prepared.adversaries.state_dict(),
                "scaler": None if prepared.scaler is None else prepared.scaler.state_dict(),
                "average": None if prepared.average is None else prepared.average.state_dict(),
                "random": random,
                "best": self._best,
                "metrics": self._log.sync(),
            }
            self._checkpoints.save(self.progress.step, state)
            remove_tables(self._folder, before=self.progress.epoch)
        prepared.accelerator.wait_for_everyone()

    # ---- end -----------------------------------------------------------------------------------------------------

    def finish(self) -> PhaseResult:
        """Validate the last step if it was not, keep the selected weights, write what was found."""
        prepared, progress = self._prepared, self.progress
        prepared.guard.look()
        if prepared.validator is not None and progress.validated != progress.step:
            self._validate()
        if self._job.phase.select.by == "last":
            progress.best_step = progress.step
        with prepared.average.applied() if prepared.average is not None else nullcontext():
            state = self._best or cpu_state(prepared.objective.network)
        if self._job.phase.gradient_checkpointing:
            self._job.student.set_gradient_checkpointing(False)  # type: ignore[operator]
        facts = self._facts()
        if prepared.is_main:
            assert self._log is not None
            self._log.sync()
            self._log.close()
            write_file(self.weights, lambda path: save_file(state, path))
            document = json.dumps({"belongs_to": self._owner, "result": facts}, indent=1)
            write_file(self._folder / "done.json", lambda path: path.write_text(document, encoding="utf-8"))
            self._checkpoints.clear()
            shutil.rmtree(self._folder / "mining", ignore_errors=True)
        prepared.accelerator.wait_for_everyone()
        return self._result(state, facts)

    def _facts(self) -> dict[str, Any]:
        progress = self.progress
        by = self._job.phase.select.by
        return {
            "steps": progress.step,
            "epochs": progress.epoch + (progress.done > 0),
            "selected": {"by": by, "step": progress.best_step, "value": progress.best_value},
            "validation": progress.best_validation,
            "losses": progress.losses,
            "seconds": progress.seconds,
            "cpu_seconds": progress.cpu_seconds,
            "device_peak_bytes": self._peak.read(),
        }

    def _finished(self) -> PhaseResult | None:
        try:
            document = json.loads((self._folder / "done.json").read_text(encoding="utf-8"))
            if document["belongs_to"] != self._owner:
                return None
            return self._result(load_file(self.weights), document["result"])
        except (OSError, ValueError, KeyError, SafetensorError):
            return None  # missing or damaged: there is nothing to trust, so the phase is trained

    def _result(self, state: dict[str, Tensor], facts: dict[str, Any]) -> PhaseResult:
        network = self._prepared.objective.network.cpu().eval().to(memory_format=torch.contiguous_format)
        network.load_state_dict(state)
        return PhaseResult(
            name=self._job.phase.name, network=network, weights=self.weights, metrics=self.metrics, **facts
        )


def _owner(prepared: Prepared) -> dict[str, Any]:
    """What must be equal for a checkpoint to be gone on from, as JSON gives it back."""
    job = prepared.job
    hashed = hashlib.sha256("\n".join(job.data.ids).encode())
    if job.data.labels is not None:
        hashed.update(job.data.labels.tobytes())
    owner = {
        "phase": job.phase.model_dump(mode="json"),
        "seed": job.seed,
        "precision": job.compute.precision,
        "memory_format": job.compute.memory_format,
        "processes": prepared.processes,
        "samples": hashed.hexdigest(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(owner))
    return plain
