"""Supervised contrastive losses against NumPy loops; unlabelled rows; one label; what moves and what does not."""

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
from edgefw.plugins.losses.supcon import SupConConfig, build, needs_for


def rows(student: np.ndarray, teacher: np.ndarray, label: list[int]) -> LossInput:
    count = len(student)
    embedding = torch.tensor(student, dtype=torch.float32, requires_grad=True)
    return LossInput(
        student=StudentOutput(embedding, torch.zeros(count, 1), None),
        teacher=TeacherOutput(embedding=torch.tensor(teacher, dtype=torch.float32)),
        modality=torch.zeros(count, dtype=torch.int64),
        sample=torch.arange(count),
        label=torch.tensor(label),
        logit_scale=100.0,
    )


def value(inputs: LossInput, **options: object) -> torch.Tensor:
    return build(SupConConfig(**options), edgefw.BuildContext())(inputs)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def anchored(student: np.ndarray, teacher: np.ndarray, label: list[int], temperature: float) -> float:
    """Jeon et al.'s L_sup, sum by sum."""
    s, t, found = unit(student), unit(teacher), []
    for i in range(len(s)):
        same = [j for j in range(len(s)) if label[j] == label[i]]
        rest = [k for k in range(len(s)) if label[k] != label[i] and label[k] >= 0]
        if label[i] < 0 or not rest:
            continue
        below = sum(np.exp(s[i] @ t[k] / temperature) for k in rest)
        found.append(-np.mean([np.log(np.exp(s[i] @ t[j] / temperature) / below) for j in same]))
    return float(np.mean(found)) if found else 0.0


def standard(student: np.ndarray, label: list[int], temperature: float) -> float:
    """Khosla et al.'s L_out, sum by sum."""
    z, found = unit(student), []
    for i in range(len(z)):
        rest = [a for a in range(len(z)) if a != i and label[a] >= 0]
        same = [p for p in rest if label[p] == label[i]]
        if label[i] < 0 or not same:
            continue
        below = sum(np.exp(z[i] @ z[a] / temperature) for a in rest)
        found.append(-np.mean([np.log(np.exp(z[i] @ z[p] / temperature) / below) for p in same]))
    return float(np.mean(found)) if found else 0.0


CASES = given(
    seed=st.integers(0, 2**31),
    label=st.lists(st.integers(-1, 3), min_size=1, max_size=9),
    temperature=st.floats(0.05, 2),
)


@CASES
@settings(max_examples=40, deadline=None)
def test_the_teacher_anchored_form_equals_loops(seed: int, label: list[int], temperature: float) -> None:
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(len(label), 6)), rng.normal(size=(len(label), 6))
    got = value(rows(student, teacher, label), temperature=temperature).item()
    assert got == pytest.approx(anchored(student, teacher, label, temperature), abs=2e-4)


@CASES
@settings(max_examples=40, deadline=None)
def test_the_standard_form_equals_loops(seed: int, label: list[int], temperature: float) -> None:
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(len(label), 6)), rng.normal(size=(len(label), 6))
    got = value(rows(student, teacher, label), form="standard", temperature=temperature).item()
    assert got == pytest.approx(standard(student, label, temperature), abs=2e-4)


@pytest.mark.parametrize("form", ["teacher-anchored", "standard"])
def test_neither_scale_nor_order_of_rows_nor_names_of_labels_matter(form: str) -> None:
    rng = np.random.default_rng(2)
    student, teacher, label = rng.normal(size=(8, 5)), rng.normal(size=(8, 5)), np.array([0, 1, 2, 0, 1, 1, -1, 2])
    plain = value(rows(student, teacher, label.tolist()), form=form).item()
    order = rng.permutation(8)
    moved = value(rows(student[order] * 7, teacher[order] * 0.1, label[order].tolist()), form=form).item()
    renamed = np.where(label < 0, -1, 9 - label)
    assert moved == pytest.approx(plain, abs=1e-5)
    assert value(rows(student, teacher, renamed.tolist()), form=form).item() == pytest.approx(plain, abs=1e-5)


def test_a_second_modality_adds_a_constant_to_the_anchored_form() -> None:
    rng = np.random.default_rng(4)
    student, teacher, label = rng.normal(size=(5, 6)), rng.normal(size=(5, 6)), [0, 0, 1, 2, 1]
    once = value(rows(student, teacher, label)).item()
    twice = value(rows(np.tile(student, (2, 1)), np.tile(teacher, (2, 1)), label * 2)).item()
    assert twice == pytest.approx(once + np.log(2), abs=1e-4)


@pytest.mark.parametrize("form, label", [("teacher-anchored", [1, 1, 1]), ("standard", [0, 1, 2])])
def test_a_batch_that_the_formula_says_nothing_about_costs_nothing(form: str, label: list[int]) -> None:
    inputs = rows(np.eye(3), np.eye(3), label)
    loss = value(inputs, form=form)
    loss.backward()
    assert loss.item() == 0.0 and not inputs.student.embedding.grad.any()


def test_unlabelled_rows_change_nothing() -> None:
    rng = np.random.default_rng(6)
    student, teacher = rng.normal(size=(6, 5)), rng.normal(size=(6, 5))
    for form in ("teacher-anchored", "standard"):
        whole = value(rows(student, teacher, [0, 1, 0, 1, -1, -1]), form=form).item()
        assert whole == pytest.approx(value(rows(student[:4], teacher[:4], [0, 1, 0, 1]), form=form).item(), abs=1e-6)


def test_gradients_reach_the_student_and_not_the_teacher() -> None:
    rng = np.random.default_rng(7)
    inputs = rows(rng.normal(size=(6, 4)), rng.normal(size=(6, 4)), [0, 1, 2, 0, 1, 2])
    inputs.teacher.embedding.requires_grad_(False)
    value(inputs).backward()
    assert (inputs.student.embedding.grad.abs().sum(dim=1) > 0).all()
    assert inputs.teacher.embedding.grad is None


def test_the_teacher_is_needed_by_the_anchored_form_only() -> None:
    assert needs_for(SupConConfig()) == {"run.labels", "teacher.embedding"}
    assert needs_for(SupConConfig(form="standard")) == {"run.labels"}
