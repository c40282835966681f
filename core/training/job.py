"""What a training phase is given, and what it hands back: built pieces and plain numbers.

The records know the contracts and the recipe's own sections. They name no technique, and hold no recipe text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgefw.contracts.quantizer import ModuleQuantizer
    from edgefw.contracts.sampler import Sampler
    from edgefw.contracts.scheme import Scheme
    from edgefw.contracts.teacher import Teacher
    from edgefw.data.batches import StepSource
    from edgefw.recipe.schema import Compute, Phase


def _ignore(*_: Any) -> None:
    """The default of every callback."""


@dataclass(frozen=True, kw_only=True)
class PhaseLoss:
    """One term of the sum of losses.

    Attributes:
        name: unique in the phase; the key of its value in the metrics.
        weight: factor in the sum.
        module: the loss, a module from `LossInput` to a scalar.
        projector: alignment that training applies to the student's map before this loss sees it, or None.
    """

    name: str
    weight: float
    module: nn.Module
    projector: nn.Module | None = None


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Where a phase reports to, on the main process only. Each is called from the loop, so it must be quick.

    Attributes:
        started: (steps of the phase, first step of this execution), once, before the first step.
        step: (step, metrics) after each logged step: "loss", each loss by name, "lr", "epoch", "gradient_norm".
        validation: (step, values) after each validation: "loss", "accuracy", "agreement" as far as they exist.
        sampler: (step, values) at the beginning of each epoch, what a sampler that reports has found.
        caching: (samples done, samples in all, split) while teacher features are stored.
    """

    started: Callable[[int, int], None] = _ignore
    step: Callable[[int, Mapping[str, float]], None] = _ignore
    validation: Callable[[int, Mapping[str, float]], None] = _ignore
    caching: Callable[[int, int, str], None] = _ignore
    sampler: Callable[[int, Mapping[str, float]], None] = _ignore


@dataclass(frozen=True, kw_only=True)
class PhaseJob:
    """One training phase.

    Attributes:
        phase: the phase's section of the recipe; its pieces are built already, below.
        compute: device, precision, workers, how often to log and to checkpoint.
        seed: the run's seed.
        folder: `train/<phase>`; weights, metrics and the checkpoint go there.
        student: `StudentNetwork` (or one like it) with the weights to start from. Trained in place unless a quantizer
            prepares a network of its own; a fresh or earlier state is the caller's choice.
        scheme: shape of the distillation; its `network(student)` is what is trained.
        losses: the terms of the sum, names unique.
        sampler: which samples form a batch.
        data: the training samples as tensors (`edgefw.data.batches.TrainingData`).
        teacher: the frozen teacher.
        validation: the validation split with clean views, or None without one (then `select.by` must be "last").
        quantizer: training-time quantizer, or None.
        reference: frozen network of an earlier phase, or None.
        text: (K, D) unit text embeddings of the label superset, for losses; or None.
        evaluation_text: (L, D) unit text embeddings of the evaluation labels, for "accuracy" and "agreement"; the
            labels of `validation` index its rows. Or None.
        want: what losses need of the teacher beyond embeddings: "tokens", "qkv".
        cache: folder for teacher features; used when the phase has a `cache` section.
        resume: go on from the checkpoint in `folder` when there is one; otherwise it is removed and made anew.
        path: where the phase stands in the recipe ("train[0]"), for messages.
        callbacks: progress display and observers.
    """

    phase: Phase
    compute: Compute
    seed: int
    folder: Path
    student: nn.Module
    scheme: Scheme
    losses: tuple[PhaseLoss, ...]
    sampler: Sampler
    data: StepSource
    teacher: Teacher
    validation: StepSource | None = None
    quantizer: ModuleQuantizer | None = None
    reference: nn.Module | None = None
    text: Tensor | None = None
    evaluation_text: Tensor | None = None
    want: frozenset[str] = frozenset()
    cache: Path | None = None
    resume: bool = False
    path: str = "train[0]"
    callbacks: Callbacks = Callbacks()


@dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """What a finished phase hands back.

    Attributes:
        name: the phase.
        network: the trained network on the CPU in evaluation mode, with the selected weights (EMA where asked for).
        weights: `student.safetensors`, the state dict of `network`.
        metrics: `metrics.jsonl` of the phase.
        steps: optimiser steps of the phase.
        epochs: passes over the data that were begun.
        selected: {"by", "step", "value"} of the kept weights; "value" is None for "last".
        validation: values of the validation at the selected step; empty without one.
        losses: the loss and its terms at the last step.
        seconds: wall time of the training, with what an interrupted execution had done up to its last checkpoint.
        cpu_seconds: processor time of this process for it, counted likewise; loader processes have their own.
        device_peak_bytes: the most that this process had allocated on its CUDA device from the first step on, counted likewise;
            None on other devices.
    """

    name: str
    network: nn.Module
    weights: Path
    metrics: Path
    steps: int
    epochs: int
    selected: Mapping[str, Any]
    validation: Mapping[str, float]
    losses: Mapping[str, float]
    seconds: float
    cpu_seconds: float
    device_peak_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The record without the network, paths by name only."""
        return {
            "name": self.name,
            "weights": self.weights.name,
            "metrics": self.metrics.name,
            "steps": self.steps,
            "epochs": self.epochs,
            "selected": dict(self.selected),
            "validation": dict(self.validation),
            "losses": dict(self.losses),
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            **({} if self.device_peak_bytes is None else {"device_peak_bytes": self.device_peak_bytes}),
        }
