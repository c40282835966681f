"""The triplet loss against NumPy loops over groups and PyTorch's own; missing rows; what moves and what does not."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.student import StudentOutput
from edgefw.contracts.teacher import TeacherOutput
from edgefw.errors import TrainingError
from edgefw.plugins.losses.triplet import TripletConfig, build, needs_for


def rows(student: np.ndarray, role: np.ndarray, group: np.ndarray, modality: np.ndarray) -> LossInput:
    count = len(student)
    embedding = torch.tensor(student, dtype=torch.float32, requires_grad=True)
    return LossInput(
        student=StudentOutput(embedding, torch.zeros(count, 1), None),
        teacher=TeacherOutput(embedding=torch.ones(count, student.shape[1], requires_grad=True)),
        modality=torch.tensor(modality),
        sample=torch.arange(count),
        label=torch.full((count,), -1),
        logit_scale=100.0,
        role=torch.tensor(role),
        group=torch.tensor(group),
    )


def drawn(seed: int, groups: int = 3, kinds: int = 2, keep: float = 1.0) -> tuple[np.ndarray, ...]:
    """Student rows, roles, groups and modalities: each group has 1 to 3 negatives; some rows are missing."""
    rng = np.random.default_rng(seed)
    made = [
        (role, group, kind)
        for kind, group in product(range(kinds), range(groups))
        for role in range(3 + group % 3)
        if rng.random() <= keep
    ]
    order = rng.permutation(len(made))
    table = np.array(made, dtype=np.int64).reshape(-1, 3)[order]
    return rng.normal(size=(len(made), 6)), table[:, 0], table[:, 1], table[:, 2]


def value(inputs: LossInput, **options: object) -> torch.Tensor:
    return build(TripletConfig(**options), edgefw.BuildContext())(inputs)


def reference(
    student: np.ndarray,
    role: np.ndarray,
    group: np.ndarray,
    modality: np.ndarray,
    margin: float = 0.3,
    hinge: bool = True,
    cross_modal: bool = False,
) -> float:
    """The formula as it is printed: loops over modalities, groups and rows."""
    unit = student / np.linalg.norm(student, axis=1, keepdims=True)
    total = 0.0
    for one, other in product(sorted(set(modality)), repeat=2):
        if one != other and not cross_modal:
            continue
        found = []
        for a, p, n in product(range(len(unit)), repeat=3):
            roles = role[a] == 0 and role[p] == 1 and role[n] >= 2
            if not roles or not group[a] == group[p] == group[n]:
                continue
            if modality[a] == one and modality[p] == modality[n] == other:
                excess = np.linalg.norm(unit[a] - unit[p]) - np.linalg.norm(unit[a] - unit[n]) + margin
                found.append(max(0.0, excess) if hinge else excess)
        total += float(np.mean(found)) if found else 0.0
    return total


@given(
    seed=st.integers(0, 2**31),
    margin=st.floats(0, 2),
    hinge=st.booleans(),
    cross_modal=st.booleans(),
    keep=st.sampled_from([1.0, 0.8, 0.4]),
)
@settings(max_examples=25, deadline=None)
def test_value_equals_loops(seed: int, margin: float, hinge: bool, cross_modal: bool, keep: float) -> None:
    table = drawn(seed, keep=keep)
    if not len(table[0]):
        return
    got = value(rows(*table), margin=margin, hinge=hinge, cross_modal=cross_modal).item()
    assert got == pytest.approx(reference(*table, margin, hinge, cross_modal), abs=2e-5)


def test_one_modality_is_the_loss_of_pytorch() -> None:
    student, role, group, modality = drawn(5, groups=1, kinds=1)
    order = np.argsort(role)
    unit = torch.nn.functional.normalize(torch.tensor(student[order]), dim=1)
    expected = torch.nn.functional.triplet_margin_loss(unit[:1], unit[1:2], unit[2:3], margin=0.3)
    assert value(rows(student, role, group, modality)).item() == pytest.approx(expected.item(), abs=1e-5)


@given(seed=st.integers(0, 2**31), scale=st.floats(1e-2, 1e2))
@settings(max_examples=15, deadline=None)
def test_neither_scale_nor_order_of_rows_matters(seed: int, scale: float) -> None:
    student, role, group, modality = drawn(seed, keep=0.9)
    order = np.random.default_rng(seed).permutation(len(student))
    plain = value(rows(student, role, group, modality), cross_modal=True).item()
    scaled = value(rows(student * scale, role, group, modality), cross_modal=True).item()
    moved = value(rows(student[order], role[order], group[order], modality[order]), cross_modal=True).item()
    assert scaled == pytest.approx(plain, abs=1e-5) and moved == pytest.approx(plain, abs=1e-5)


def test_a_far_negative_costs_nothing_with_the_hinge_and_pays_without() -> None:
    student = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    inputs = rows(student, np.array([0, 1, 2]), np.zeros(3, np.int64), np.zeros(3, np.int64))
    assert value(inputs).item() == 0.0
    assert value(inputs, hinge=False).item() == pytest.approx(0.3 - 2.0, abs=1e-5)


def test_gradients_reach_the_student_and_not_the_teacher() -> None:
    inputs = rows(*drawn(3))
    value(inputs).backward()
    assert inputs.student.embedding.grad.abs().sum() > 0
    assert inputs.teacher.embedding.grad is None


def test_equal_embeddings_have_a_finite_gradient() -> None:
    student, role, group, modality = drawn(0)
    inputs = rows(np.ones_like(student), role, group, modality)
    loss = value(inputs)
    loss.backward()
    assert loss.item() == pytest.approx(2 * 0.3) and torch.isfinite(inputs.student.embedding.grad).all()


def test_rows_without_a_triplet_cost_nothing_and_keep_the_graph() -> None:
    student, role, group, modality = drawn(1)
    inputs = rows(student, np.zeros_like(role), group, modality)
    loss = value(inputs)
    loss.backward()
    assert loss.item() == 0.0 and not inputs.student.embedding.grad.any()


def test_a_step_downhill_pulls_the_positive_and_pushes_the_negative() -> None:
    student = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, -0.9]])
    inputs = rows(student, np.array([0, 1, 2]), np.zeros(3, np.int64), np.zeros(3, np.int64))
    value(inputs).backward()
    moved = student - 0.1 * inputs.student.embedding.grad.numpy()
    unit = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    before = student / np.linalg.norm(student, axis=1, keepdims=True)
    assert np.linalg.norm(unit[0] - unit[1]) < np.linalg.norm(before[0] - before[1])
    assert np.linalg.norm(unit[0] - unit[2]) > np.linalg.norm(before[0] - before[2])


def test_rows_without_groups_are_an_error() -> None:
    inputs = replace(rows(*drawn(2)), role=None)
    with pytest.raises(TrainingError, match="loss 'triplet': the scheme gives rows without group and role"):
        value(inputs)


def test_two_modalities_are_needed_across_them_only() -> None:
    assert needs_for(TripletConfig()) == {"sampler.groups"}
    assert needs_for(TripletConfig(cross_modal=True)) == {"sampler.groups", "run.pairs"}
