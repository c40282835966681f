"""InfoNCE against a NumPy double loop; its cross-entropy special case; rows of one sample; gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.student import StudentOutput
from edgefw.contracts.teacher import TeacherOutput
from edgefw.plugins.losses.infonce import InfoNceConfig, build


def rows(student: np.ndarray, teacher: np.ndarray, sample: np.ndarray) -> LossInput:
    count = len(student)
    embedding = torch.tensor(student, dtype=torch.float32, requires_grad=True)
    return LossInput(
        student=StudentOutput(embedding, torch.zeros(count, 1), None),
        teacher=TeacherOutput(embedding=torch.tensor(teacher, dtype=torch.float32)),
        modality=torch.zeros(count, dtype=torch.int64),
        sample=torch.tensor(sample),
        label=torch.full((count,), -1),
        logit_scale=100.0,
    )


def value(inputs: LossInput, **options: object) -> torch.Tensor:
    return build(InfoNceConfig(**options), edgefw.BuildContext())(inputs)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def reference(student: np.ndarray, teacher: np.ndarray, sample: np.ndarray, temperature: float, both: bool) -> float:
    s, t = unit(student), unit(teacher)
    count, forward, backward = len(s), 0.0, 0.0
    for i in range(count):
        others = [j for j in range(count) if j == i or sample[j] != sample[i]]
        own = np.exp(s[i] @ t[i] / temperature)
        forward -= np.log(own / sum(np.exp(s[i] @ t[j] / temperature) for j in others)) / count
        backward -= np.log(own / sum(np.exp(s[j] @ t[i] / temperature) for j in others)) / count
    return (forward + backward) / 2 if both else forward


@given(
    seed=st.integers(0, 2**31),
    sample=st.lists(st.integers(0, 4), min_size=1, max_size=8),
    temperature=st.floats(0.05, 2),
    both=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_value_equals_numpy(seed: int, sample: list[int], temperature: float, both: bool) -> None:
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(len(sample), 6)), rng.normal(size=(len(sample), 6))
    got = value(rows(student, teacher, np.array(sample)), temperature=temperature, symmetric=both).item()
    assert got == pytest.approx(reference(student, teacher, np.array(sample), temperature, both), abs=2e-4)


def test_with_one_row_per_sample_it_is_the_cross_entropy_of_clip() -> None:
    rng = np.random.default_rng(3)
    student, teacher = rng.normal(size=(6, 5)), rng.normal(size=(6, 5))
    logits = torch.tensor(unit(student) @ unit(teacher).T / 0.07, dtype=torch.float32)
    own = torch.arange(6)
    expected = (torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own)) / 2
    assert value(rows(student, teacher, np.arange(6))).item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_second_modality_of_the_same_sample_is_no_negative() -> None:
    rng = np.random.default_rng(4)
    teacher = rng.normal(size=(3, 5))
    doubled = np.concatenate([teacher, teacher])
    perfect = rows(doubled, doubled, np.array([0, 1, 2, 0, 1, 2]))
    assert value(perfect, temperature=0.01).item() == pytest.approx(0, abs=1e-3)
    seen_as_negatives = rows(doubled, doubled, np.arange(6))
    assert value(seen_as_negatives, temperature=0.01).item() == pytest.approx(np.log(2), abs=1e-3)


def test_order_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    student, teacher, sample = rng.normal(size=(6, 5)), rng.normal(size=(6, 5)), np.array([0, 0, 1, 2, 3, 3])
    order = rng.permutation(6)
    shuffled = value(rows(student[order], teacher[order], sample[order])).item()
    assert shuffled == pytest.approx(value(rows(student, teacher, sample)).item(), abs=1e-5)


def test_gradient_is_finite_and_reaches_every_student_row() -> None:
    rng = np.random.default_rng(6)
    inputs = rows(rng.normal(size=(4, 8)), rng.normal(size=(4, 8)), np.array([0, 1, 0, 1]))
    value(inputs).backward()
    gradient = inputs.student.embedding.grad
    assert gradient.isfinite().all() and (gradient.abs().sum(dim=1) > 0).all()
    assert inputs.teacher.embedding.grad is None
