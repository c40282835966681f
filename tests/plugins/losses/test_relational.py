"""Relational distillation against NumPy loops; similarity transforms; equal points; what moves and what does not."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.student import StudentOutput
from edgefw.contracts.teacher import TeacherOutput
from edgefw.plugins.losses.relational import RelationalConfig, build


def rows(student: np.ndarray, teacher: np.ndarray, sample: list[int]) -> LossInput:
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
    return build(RelationalConfig(**options), edgefw.BuildContext())(inputs)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def huber(x: float) -> float:
    return 0.5 * x * x if abs(x) <= 1 else abs(x) - 0.5


def distances(x: np.ndarray) -> dict[tuple[int, int], float]:
    found = {(i, j): float(np.linalg.norm(x[i] - x[j])) for i, j in permutations(range(len(x)), 2)}
    mean = np.mean(list(found.values()))
    return {pair: distance / mean for pair, distance in found.items()}


def angle(x: np.ndarray, i: int, j: int, k: int) -> float:
    one, other = x[i] - x[j], x[k] - x[j]
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def reference(s: np.ndarray, t: np.ndarray, sample: list[int], weights: tuple[float, float]) -> float:
    """Park et al.'s two potentials, pair by pair and triple by triple."""
    ours, theirs = distances(s), distances(t)
    total = weights[0] * np.mean([huber(ours[pair] - theirs[pair]) for pair in ours])
    triples = [(i, j, k) for i, j, k in permutations(range(len(s)), 3) if len({sample[i], sample[j], sample[k]}) == 3]
    if triples:
        total += weights[1] * np.mean([huber(angle(s, *triple) - angle(t, *triple)) for triple in triples])
    return float(total)


@given(
    seed=st.integers(0, 2**31),
    sample=st.lists(st.integers(0, 4), min_size=2, max_size=7),
    weights=st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)),
    normalise=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_value_equals_loops(seed: int, sample: list[int], weights: tuple[float, float], normalise: bool) -> None:
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(len(sample), 6)), rng.normal(size=(len(sample), 4))
    s, t = (unit(student), unit(teacher)) if normalise else (student, teacher)
    inputs = rows(student, teacher, sample)
    got = value(inputs, distance=weights[0], angle=weights[1], normalise=normalise).item()
    assert got == pytest.approx(reference(s, t, sample, weights), abs=1e-4)


def test_rows_of_one_sample_share_a_target_and_are_no_angle() -> None:
    rng = np.random.default_rng(1)
    target = rng.normal(size=(3, 5))
    teacher, student, sample = np.tile(target, (2, 1)), rng.normal(size=(6, 5)), [0, 1, 2, 0, 1, 2]
    expected = reference(unit(student), unit(teacher), sample, (1.0, 2.0))
    assert value(rows(student, teacher, sample)).item() == pytest.approx(expected, abs=1e-4)


@given(seed=st.integers(0, 2**31), scale=st.floats(0.05, 20))
@settings(max_examples=20, deadline=None)
def test_a_turned_moved_and_scaled_teacher_costs_nothing(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(6, 5))
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    student = scale * teacher @ turn + rng.normal(size=5)
    assert value(rows(student, teacher, list(range(6))), normalise=False).item() == pytest.approx(0, abs=1e-4)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    student, teacher, sample = rng.normal(size=(7, 5)), rng.normal(size=(7, 5)), np.array([0, 1, 2, 3, 0, 1, 4])
    order = rng.permutation(7)
    plain = value(rows(student, teacher, sample.tolist())).item()
    moved = value(rows(student[order], teacher[order], sample[order].tolist())).item()
    assert moved == pytest.approx(plain, abs=1e-5)


def test_gradients_reach_the_student_and_not_the_teacher() -> None:
    rng = np.random.default_rng(4)
    inputs = rows(rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), list(range(5)))
    value(inputs).backward()
    assert (inputs.student.embedding.grad.abs().sum(dim=1) > 0).all()
    assert inputs.teacher.embedding.grad is None


@pytest.mark.parametrize("spread", [0.0, 1e-7, 1e-4])
def test_a_student_that_says_nearly_the_same_of_everything_has_a_finite_gradient(spread: float) -> None:
    rng = np.random.default_rng(5)
    student = np.ones((6, 4)) + spread * rng.normal(size=(6, 4))
    inputs = rows(student, rng.normal(size=(6, 4)), list(range(6)))
    loss = value(inputs)
    loss.backward()
    assert torch.isfinite(loss) and loss.item() < 10
    assert torch.isfinite(inputs.student.embedding.grad).all()


def test_two_samples_that_look_alike_do_not_blow_up_the_angles() -> None:
    rng = np.random.default_rng(6)
    student, teacher = rng.normal(size=(5, 8)), rng.normal(size=(5, 8))
    student[1], teacher[3] = student[0], teacher[2]
    inputs = rows(student, teacher, list(range(5)))
    loss = value(inputs)
    loss.backward()
    assert loss.item() < 5 and inputs.student.embedding.grad.abs().max() < 100


def test_one_row_has_no_relations() -> None:
    inputs = rows(np.ones((1, 3)), np.ones((1, 3)), [0])
    loss = value(inputs)
    loss.backward()
    assert loss.item() == 0.0


def test_two_weights_of_0_are_refused() -> None:
    with pytest.raises(ValidationError, match="distance and angle are both 0"):
        RelationalConfig(distance=0, angle=0)
