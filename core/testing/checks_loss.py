"""Promises of a loss, see `edgefw.contracts.loss`."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from edgefw.contracts.loss import LossInput
from edgefw.contracts.student import StudentOutput
from edgefw.contracts.teacher import TeacherOutput
from edgefw.testing.fakes import attention_map, loss_input, student_output
from edgefw.testing.subject import Subject


def value_is_a_finite_scalar(subject: Subject) -> None:
    """The loss is one finite floating-point number, for rows that agree and for rows that do not."""
    for inputs in (_inputs(subject), _identical(subject)):
        value = subject.build()(inputs)
        assert value.shape == (), f"shape {tuple(value.shape)}, expected ()"
        assert value.is_floating_point() and torch.isfinite(value), f"value {value}"


def smallest_at_identity(subject: Subject) -> None:
    """A student that says what the teacher says costs no more than one that says something else."""
    rival = "adversary" in subject.technique.provided(subject.config)  # its value is that of the second player's mind
    if _grouped(subject) or _by_label_alone(subject) or rival:
        return  # what it compares is rows of the student with each other, not student with teacher
    loss = subject.build()
    same, other = loss(_identical(subject)).item(), loss(_inputs(subject)).item()
    assert same <= other, f"{same} where student equals teacher, {other} where it does not"


def gradient_reaches_the_student(subject: Subject) -> None:
    """The student's outputs get a finite gradient that is not 0 everywhere."""
    inputs = _inputs(subject)
    subject.build()(inputs).backward()
    gradients = [part.grad for part in _parts(inputs.student) if part.grad is not None]
    assert gradients, "no output of the student has a gradient"
    assert all(torch.isfinite(gradient).all() for gradient in gradients), "a gradient is not finite"
    assert any(gradient.abs().sum() > 0 for gradient in gradients), "every gradient is 0"


def inputs_are_left_alone(subject: Subject) -> None:
    """The loss changes neither targets nor student outputs in place; targets come without gradient and stay so."""
    inputs = _inputs(subject)
    before = {
        **_tensors(inputs.teacher),
        **{f"student {index}": part.clone() for index, part in enumerate(_parts(inputs.student))},
    }
    subject.build()(inputs).backward()
    after = {
        **_tensors(inputs.teacher),
        **{f"student {index}": part for index, part in enumerate(_parts(inputs.student))},
    }
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert not changed, f"changed in place: {', '.join(changed)}"
    assert all(not part.requires_grad for part in _tensors(inputs.teacher).values())


def order_of_rows_does_not_matter(subject: Subject) -> None:
    """The rows in another order, or with the groups in another order, cost the same."""
    inputs = _inputs(subject)
    count = len(inputs.sample)
    order = torch.arange(count).view(-1, 3).flip(0).flatten() if _grouped(subject) else torch.arange(count).flip(0)
    loss = subject.build()
    first, second = loss(inputs).item(), loss(_rows(inputs, order)).item()
    assert abs(first - second) <= 1e-4 * max(1.0, abs(first)), f"{first} and {second}"


def across_batch_is_declared(subject: Subject) -> None:
    """A loss that says its rows do not look at each other gives the mean of what the halves of a batch cost."""
    loss = subject.build()
    assert isinstance(loss.across_batch, bool), "across_batch must be True or False"
    if loss.across_batch:
        return
    inputs = _inputs(subject)
    half = torch.arange(len(inputs.sample)).chunk(2)
    whole = loss(inputs).item()
    parts = sum(loss(_rows(inputs, index)).item() for index in half) / 2
    assert abs(whole - parts) <= 1e-4 * max(1.0, abs(whole)), (
        f"{whole} for the batch, {parts} for the mean of its halves: set across_batch = True"
    )


def half_precision(subject: Subject) -> None:
    """A student in float16 or bfloat16 gives a finite loss close to the one in float32, and a finite gradient."""
    expected = subject.build()(_inputs(subject)).item()
    for dtype in (torch.float16, torch.bfloat16):
        inputs = _cast(_inputs(subject), dtype)
        value = subject.build()(inputs)
        assert torch.isfinite(value), f"{dtype}: {value.item()}"
        assert abs(value.item() - expected) <= 0.05 * max(1.0, abs(expected)), (
            f"{dtype}: {value.item()}, not {expected}"
        )
        value.backward()
        assert all(torch.isfinite(part.grad).all() for part in _parts(inputs.student) if part.grad is not None)


def same_input_same_value(subject: Subject) -> None:
    """Two losses of one seed give the same value, bit by bit."""
    first, second = (subject.build()(_inputs(subject)).item() for _ in range(2))
    assert first == second, f"{first} and {second}"


def parameters_are_trained(subject: Subject) -> None:
    """Every trainable parameter of the loss, its adversary's aside, gets a gradient."""
    loss = subject.build()
    own = {name: parameter for name, parameter in loss.named_parameters() if parameter.requires_grad}
    rival = {id(parameter) for parameter in loss.adversary().parameters} if hasattr(loss, "adversary") else set()
    loss(_inputs(subject)).backward()
    idle = [name for name, parameter in own.items() if id(parameter) not in rival and parameter.grad is None]
    assert not idle, f"no gradient reaches {', '.join(idle)}"


def adversary_is_declared(subject: Subject) -> None:
    """A loss with `adversary` provides that word and plays; one without it does not."""
    loss = subject.build()
    says = "adversary" in subject.technique.provided(subject.config)
    assert hasattr(loss, "adversary") == says, "provides says one thing about an adversary, the loss another"
    if not says:
        return
    player = loss.adversary()
    parameters = list(player.parameters)
    assert parameters and player.lr > 0 and player.every >= 1, f"{player}"
    loss.adversary_loss(_inputs(subject, detached=True)).backward()
    assert all(parameter.grad is not None for parameter in parameters), "the adversary's own step trains not all of it"


def _by_label_alone(subject: Subject) -> bool:
    """Whether the loss says that it looks at labels and at nothing of the teacher."""
    needed = subject.technique.needed(subject.config)
    return "run.labels" in needed and not any(word.startswith("teacher.") for word in needed)


CHECKS = (
    value_is_a_finite_scalar,
    smallest_at_identity,
    gradient_reaches_the_student,
    inputs_are_left_alone,
    order_of_rows_does_not_matter,
    across_batch_is_declared,
    half_precision,
    same_input_same_value,
    parameters_are_trained,
    adversary_is_declared,
)


def _grouped(subject: Subject) -> bool:
    return bool({"sampler.groups", "sampler.views"} & subject.technique.needed(subject.config))


def _attends(subject: Subject) -> bool:
    """Whether the loss reads queries, keys and values that a projector makes of the map."""
    return "projector.qkv" in subject.technique.needed(subject.config)


def _inputs(subject: Subject, detached: bool = False) -> LossInput:
    inputs = loss_input(groups=_grouped(subject))
    if _attends(subject):
        inputs = replace(inputs, student=inputs.student._replace(map=attention_map(len(inputs.sample))))
    if not detached:
        return inputs
    return replace(inputs, student=inputs.student.each(torch.Tensor.detach))


def _identical(subject: Subject) -> LossInput:
    """Rows where the student's embedding is the teacher's, and its map the teacher's tokens (or attention)."""
    inputs = loss_input(groups=_grouped(subject))
    teacher, other = inputs.teacher, student_output(len(inputs.sample))
    rows = inputs.sample if _grouped(subject) else inputs.sample * 2  # both modalities of a sample share one target
    embedding = teacher.embedding[rows]
    tokens = teacher.tokens[rows] if teacher.tokens is not None else None  # (R, N, C)
    assert tokens is not None and other.map is not None
    feature_map = tokens.transpose(1, 2).reshape(other.map.shape)
    target = TeacherOutput(**{name: value[rows] for name, value in _tensors(teacher).items()})
    if _attends(subject):
        parts = (target.queries, target.keys, target.values, target.values)
        feature_map = torch.stack([part for part in parts if part is not None], dim=1)
    student = StudentOutput(embedding.clone(), other.pooled, feature_map, other.attention)
    return replace(inputs, student=student, teacher=target, reference=StudentOutput(*student), peer=student)


def _parts(output: StudentOutput) -> list[Tensor]:
    """Every tensor of an output, those of attention layers too."""
    found: list[Tensor] = []
    output.each(lambda part: found.append(part) or part)  # type: ignore[func-returns-value]
    return found


def _tensors(output: TeacherOutput) -> dict[str, Tensor]:
    parts = {field.name: getattr(output, field.name) for field in fields(output)}
    return {name: part.clone() for name, part in parts.items() if part is not None}


def _rows(inputs: LossInput, index: Tensor) -> LossInput:
    """The rows of an index, in its order."""

    def take(value: Any) -> Any:
        if isinstance(value, StudentOutput):
            return value.each(lambda part: part[index])
        if isinstance(value, TeacherOutput):
            return TeacherOutput(**{name: part[index] for name, part in _tensors(value).items()})
        return value[index]

    named = ("student", "teacher", "modality", "sample", "label", "reference", "role", "group", "peer")
    return replace(inputs, **{name: take(getattr(inputs, name)) for name in named})


def _cast(inputs: LossInput, dtype: torch.dtype) -> LossInput:
    return replace(inputs, student=inputs.student.each(lambda part: part.detach().to(dtype).requires_grad_()))
