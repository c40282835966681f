"""Three loops that do the same work on one job: plain PyTorch, torchdistill, edgefw.

Each runs one block from fresh weights, calls `mark(step)` after steps that are multiples of ten, and gives the losses at
those steps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from job import CLIP, OPTIMISER, Job, Memory
from torch import Tensor, nn

from edgefw.contracts.loss import LossInput
from edgefw.contracts.sampler import Pick, SampleTable
from edgefw.plugins.samplers.shuffle import Shuffle
from edgefw.plugins.schemes.dual_modality import DualModality
from edgefw.recipe.schema import Compute, Phase
from edgefw.training.job import Callbacks, PhaseJob, PhaseLoss
from edgefw.training.optimisers import learning_rate
from edgefw.training.phase import train_phase

Mark = Callable[[int], None]
SEED, EVERY = 0, 10


def picks(job: Job) -> Iterator[list[Pick]]:
    """The batches that edgefw's sampler draws, for the other two loops."""
    epoch = 0
    while True:
        yield from Shuffle().batches(SampleTable(size=job.samples), job.batch, epoch, SEED)
        epoch += 1


def plain(job: Job, data: Memory, mark: Mark) -> list[float]:
    """What one would write by hand."""
    student, teacher = job.student().train(), job.teacher()
    decayed = [p for p in student.parameters() if p.ndim > 1]
    others = [p for p in student.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": OPTIMISER.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=OPTIMISER.lr, fused=True)
    parameters = decayed + others
    batches, losses = picks(job), []
    for step in range(job.steps):
        pixels = data.pixels[torch.tensor([pick.index for pick in next(batches)])]
        with torch.no_grad():
            target = teacher.encode_image(pixels).embedding
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(OPTIMISER, step, job.steps)
        said = student(pixels).embedding
        loss = nn.functional.mse_loss(said, target) + 0.5 * nn.functional.l1_loss(said, target)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimiser.step()
        optimiser.zero_grad()
        if (step + 1) % EVERY == 0:
            losses.append(loss.item())
            mark(step + 1)
    return losses


class Embedding(nn.Module):
    """A network that returns its embedding only, which is what torchdistill's wrappers compare."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixels).embedding


class TeacherEmbedding(nn.Module):
    """The teacher as a module."""

    def __init__(self, teacher: object) -> None:
        super().__init__()
        self.module = teacher.module
        self.encode = teacher.encode_image

    def forward(self, pixels: Tensor) -> Tensor:
        return self.encode(pixels).embedding


def with_torchdistill(job: Job, data: Memory, mark: Mark) -> list[float]:
    """torchdistill's `DistillationBox`, driven as its example runner drives it."""
    from torchdistill.core.distillation import DistillationBox

    student = job.student().train()
    box = DistillationBox(
        TeacherEmbedding(job.teacher()),
        Embedding(student),
        {},
        _torchdistill_config(job),
        torch.device("cpu"),
        None,
        False,
        1,
    )
    # its optimiser registry takes whole modules; the two decay groups are set up as in the other loops
    decayed = [p for p in student.parameters() if p.ndim > 1]
    others = [p for p in student.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": OPTIMISER.weight_decay}, {"params": others, "weight_decay": 0.0}]
    box.optimizer = torch.optim.AdamW(groups, lr=OPTIMISER.lr, fused=True)
    box.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
        box.optimizer, lambda step: learning_rate(OPTIMISER, min(step, job.steps - 1), job.steps) / OPTIMISER.lr
    )
    box.scheduling_step = 1
    box.teacher_model.eval()
    box.student_model.train()
    batches, losses = picks(job), []
    for step in range(job.steps):
        pixels = data.pixels[torch.tensor([pick.index for pick in next(batches)])]
        loss = box.forward_process(pixels, targets=None, supp_dict={})
        box.post_forward_process(loss)
        if (step + 1) % EVERY == 0:
            losses.append(loss.item())
            mark(step + 1)
    return losses


def _torchdistill_config(job: Job) -> dict:
    def term(name: str, weight: float) -> dict:
        wrapper = {
            "key": "SimpleLossWrapper",
            "kwargs": {
                "input": {"is_from_teacher": False, "module_path": ".", "io": "output"},
                "target": {"is_from_teacher": True, "module_path": ".", "io": "output"},
            },
        }
        return {"criterion": {"key": name, "kwargs": {}}, "criterion_wrapper": wrapper, "weight": weight}

    return {
        "num_epochs": 1,
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "AdamW", "kwargs": {"lr": OPTIMISER.lr}, "max_grad_norm": CLIP},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"square": term("MSELoss", 1.0), "absolute": term("L1Loss", 0.5)}},
        },
    }


class Square(nn.Module):
    """Mean squared difference of embeddings."""

    across_batch = False

    def forward(self, inputs: LossInput) -> Tensor:
        return nn.functional.mse_loss(inputs.student.embedding, inputs.teacher.embedding)


class Absolute(nn.Module):
    """Mean absolute difference of embeddings."""

    across_batch = False

    def forward(self, inputs: LossInput) -> Tensor:
        return nn.functional.l1_loss(inputs.student.embedding, inputs.teacher.embedding)


def with_edgefw(job: Job, data: Memory, mark: Mark) -> list[float]:
    """`train_phase` with metrics on, as `edgefw run` calls it."""
    losses: list[float] = []

    def logged(step: int, metrics: dict) -> None:
        if step % EVERY == 0:
            losses.append(metrics["loss"])
            mark(step)

    with tempfile.TemporaryDirectory() as folder:
        train_phase(
            PhaseJob(
                phase=Phase(
                    name=job.name,
                    losses=[{"name": "square"}, {"name": "absolute", "weight": 0.5}],
                    optimiser=OPTIMISER,
                    steps=job.steps,
                    batch=job.batch,
                    clip=CLIP,
                    select={"by": "last"},
                ),
                compute=Compute(device="cpu", log_every=EVERY),
                seed=SEED,
                folder=Path(folder),
                student=job.student(),
                scheme=DualModality(["rgb"]),
                losses=(
                    PhaseLoss(name="square", weight=1.0, module=Square()),
                    PhaseLoss(name="absolute", weight=0.5, module=Absolute()),
                ),
                sampler=Shuffle(),
                data=data,
                teacher=job.teacher(),
                callbacks=Callbacks(step=logged),
            )
        )
    return losses


LOOPS = {"plain": plain, "torchdistill": with_torchdistill, "edgefw": with_edgefw}
