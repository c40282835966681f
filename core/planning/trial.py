"""One step of a phase on random numbers: does everything fit, and how much memory does it take?

The phase is put together exactly as training does it (`edgefw.stages.phase_pieces`); only the data and the teacher's
answers are random. Nothing is learnt: the step is a forward and a backward pass of a fresh student.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from edgefw.contracts.sampler import Pick, SampleTable
from edgefw.errors import DataError, RecipeError
from edgefw.planning.memory import Line, measure, parameter_bytes
from edgefw.planning.random_data import RandomTargets
from edgefw.training.adversary import Adversaries
from edgefw.training.assemble import assemble
from edgefw.training.objective import Objective
from edgefw.training.optimisers import parameter_groups
from edgefw.training.preparation import check_job
from edgefw.training.steps import make_batch

if TYPE_CHECKING:
    from edgefw.contracts.student import StudentSpec
    from edgefw.contracts.teacher import Teacher
    from edgefw.training.job import PhaseJob

SIZES = (2, 3)
"""Numbers of samples that are tried; batch norms need two."""

_SYNTHETIC = 64


def try_phase(job: PhaseJob) -> dict[str, int]:
    """Memory of a phase in bytes, without the teacher: weights, gradients, optimiser, average, activations.

    Raises:
        RecipeError: if the pieces of the phase cannot be combined, or a step fails on tensors of these shapes.
    """
    check_job(job)
    if job.phase.gradient_checkpointing:
        job.student.set_gradient_checkpointing(True)  # type: ignore[operator]
    network = assemble(job.student, job.scheme, job.quantizer)
    adversaries = Adversaries(job.losses, 1)
    objective = Objective(
        network,
        job.losses,
        job.scheme,
        mixed=job.compute.precision != "fp32",
        adversaries=adversaries if len(adversaries) else None,
    ).train()
    _check_width(job, network)
    line = _activations(job, objective)
    groups = parameter_groups(objective, 0.0, adversaries.parameters)
    trained = sum(value.numel() * value.element_size() for group in groups for value in group["params"])
    reference = [job.reference] if job.reference is not None else []
    return {
        "weights": parameter_bytes(objective, *reference),
        "gradients": trained,
        "optimiser": _states(job) * trained,
        "average": parameter_bytes(network) if job.phase.ema is not None else 0,
        "activations": line.at(job.phase.batch),
    }


def teacher_memory(teacher: Teacher, want: frozenset[str]) -> Line:
    """Memory of the teacher in bytes: its weights, and what one image more takes.

    Raises:
        RecipeError: if the teacher fails on an input of the size it states.
    """
    height, width = teacher.spec.image_size

    def look(images: int) -> None:
        with torch.no_grad():
            output = teacher.encode_image(torch.zeros(images, 3, height, width), want)
        if output.embedding.shape[1] != teacher.spec.width:
            raise RecipeError(
                f"teacher: it gives embeddings of {output.embedding.shape[1]} numbers and states "
                f"{teacher.spec.width}. This is a fault of the technique; report it to its authors."
            )

    activations = measure(look, (1, 2))
    return Line(parameter_bytes(teacher.module) + activations.constant, activations.each)


def _states(job: PhaseJob) -> int:
    """How many numbers the optimiser keeps for each trained one."""
    optimiser = job.phase.optimiser
    return (1 if optimiser.momentum else 0) if optimiser.name == "sgd" else 2


def _activations(job: PhaseJob, objective: Objective) -> Line:
    targets = RandomTargets(job.teacher.spec, job.want)
    low = torch.autocast("cpu", dtype=torch.bfloat16) if job.compute.precision != "fp32" else nullcontext()

    def step(samples: int) -> None:
        data = job.data.load(_picks(job, samples), 0, False)
        with low:
            terms = objective(make_batch(job, data, targets))
        terms.total.backward()

    try:
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(job.seed)
            return measure(step, SIZES)
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise RecipeError(
            f"{job.path}: a step on random numbers fails: {_first_line(error)} {_way_out(job)}"
        ) from error


def _picks(job: PhaseJob, samples: int) -> Sequence[Pick]:
    """What the sampler would draw from a few made-up samples; plain picks where it cannot."""
    random = np.random.default_rng(0)
    embedding = random.normal(size=(_SYNTHETIC, job.teacher.spec.width)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    label = None if job.data.labels is None else np.arange(_SYNTHETIC, dtype=np.int64) % 4
    size = min(_SYNTHETIC, len(job.data.ids))
    table = SampleTable(size=size, label=None if label is None else label[:size], embedding=embedding[:size])
    try:
        drawn = next(islice(job.sampler.batches(table, samples, 0, job.seed), 1))
    except (DataError, StopIteration):
        drawn = ()
    return drawn or [Pick(index=index % size) for index in range(samples)]


def _check_width(job: PhaseJob, network: Any) -> None:
    """The head's output against the teacher's width, before a loss trips over it."""
    size, channels = job.data.load([Pick(index=0)] * 2, 0, False), job.teacher.spec.width
    name = job.data.modalities[0]
    try:
        with torch.no_grad():
            found = job.scheme.embed(network, name, size.images[name]).shape[-1]
    except (RuntimeError, AssertionError, ValueError) as error:
        raise RecipeError(f"{job.path}: the student fails: {_first_line(error)} {_way_out(job)}") from error
    if found != channels:
        raise RecipeError(
            f"student.head: it gives embeddings of {found} numbers, and the teacher's have {channels}. "
            "Use a head that goes to the teacher's width, such as linear."
        )


def _first_line(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text.rstrip(".") + "."


def _way_out(job: PhaseJob) -> str:
    spec, shape = cast("StudentSpec", job.student.spec), getattr(job.data, "shape", None)
    size = spec.input.size
    if shape is not None and shape[-1] != size:
        return f"The views are {shape[-1]} pixels wide and the student takes {size}: set {job.path}.views.size={size}."
    teacher = job.teacher.spec
    grid = f", tokens {teacher.tokens.grid} x {teacher.tokens.width}" if teacher.tokens else ""
    feature_map = f", map {spec.map.channels} x {spec.map.grid}" if spec.map else ""
    return (
        f"Shapes: student width {spec.width}{feature_map}; teacher width {teacher.width}{grid}. "
        "Look at the options of the losses and projectors of this phase."
    )
