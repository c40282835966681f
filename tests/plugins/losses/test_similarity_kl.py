"""The similarity loss against NumPy for each kind of column; identities; what it needs; gradients."""

from __future__ import annotations

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
from edgefw.errors import TrainingError
from edgefw.plugins.losses.similarity_kl import SimilarityKlConfig, build, needs_for


def rows(student: np.ndarray, teacher: np.ndarray, text: np.ndarray | None, sample: list[int]) -> LossInput:
    count = len(student)
    embedding = torch.tensor(student, dtype=torch.float32, requires_grad=True)
    return LossInput(
        student=StudentOutput(embedding, torch.zeros(count, 1), None),
        teacher=TeacherOutput(embedding=torch.tensor(teacher, dtype=torch.float32)),
        modality=torch.zeros(count, dtype=torch.int64),
        sample=torch.tensor(sample),
        label=torch.full((count,), -1),
        logit_scale=12.5,
        text=None if text is None else torch.tensor(text, dtype=torch.float32),
    )


def value(inputs: LossInput, **options: object) -> torch.Tensor:
    return build(SimilarityKlConfig(**options), edgefw.BuildContext())(inputs)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def kl(target: np.ndarray, logits: np.ndarray) -> float:
    p, q = np.exp(target) / np.exp(target).sum(), np.exp(logits) / np.exp(logits).sum()
    return float((p * np.log(p / q)).sum())


def mean_kl(target: np.ndarray, logits: np.ndarray) -> float:
    return float(np.mean([kl(a, b) for a, b in zip(target, logits)]))


@pytest.mark.parametrize("over", ["texts", "teacher"])
@pytest.mark.parametrize("directions", ["one", "both"])
@given(seed=st.integers(0, 2**31), temperature=st.one_of(st.none(), st.floats(0.05, 2)))
@settings(max_examples=10, deadline=None)
def test_value_equals_numpy(over: str, directions: str, seed: int, temperature: float | None) -> None:
    rng = np.random.default_rng(seed)
    student, teacher, text = rng.normal(size=(5, 7)), rng.normal(size=(5, 7)), rng.normal(size=(3, 7))
    columns = unit(text if over == "texts" else teacher)
    scale = 12.5 if temperature is None else 1 / temperature
    target, logits = scale * unit(teacher) @ columns.T, scale * unit(student) @ columns.T
    expected = mean_kl(target, logits)
    if directions == "both":
        expected = (expected + mean_kl(target.T, logits.T)) / 2
    inputs = rows(student, teacher, text, list(range(5)))
    got = value(inputs, over=over, directions=directions, temperature=temperature).item()
    assert got == pytest.approx(expected, abs=2e-4)


@given(seed=st.integers(0, 2**31), sample=st.lists(st.integers(0, 3), min_size=1, max_size=7))
@settings(max_examples=30, deadline=None)
def test_over_the_batch_leaves_out_pairs_of_one_sample(seed: int, sample: list[int]) -> None:
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(len(sample), 7)), rng.normal(size=(len(sample), 7))
    expected = 0.0
    for i, mine in enumerate(sample):
        others = [j for j, other in enumerate(sample) if other != mine]
        if others:
            target = unit(teacher)[others] @ unit(teacher)[i] / 0.2
            expected += kl(target, unit(student)[others] @ unit(student)[i] / 0.2) / len(sample)
    got = value(rows(student, teacher, None, sample), over="batch", temperature=0.2).item()
    assert got == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("options", [{"over": "texts"}, {"over": "teacher", "directions": "both"}, {"over": "batch"}])
def test_a_student_that_equals_its_teacher_costs_nothing(options: dict[str, str]) -> None:
    rng = np.random.default_rng(1)
    teacher, text = rng.normal(size=(4, 6)), rng.normal(size=(3, 6))
    assert value(rows(2 * teacher, teacher, text, [0, 1, 2, 0]), **options).item() == pytest.approx(0, abs=1e-6)


def test_over_the_batch_a_common_rotation_of_the_student_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    student, teacher = rng.normal(size=(5, 6)), rng.normal(size=(5, 6))
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    turned = value(rows(student @ rotation, teacher, None, list(range(5))), over="batch").item()
    assert turned == pytest.approx(value(rows(student, teacher, None, list(range(5))), over="batch").item(), abs=1e-4)


@pytest.mark.parametrize("over", ["texts", "teacher", "batch"])
def test_gradient_is_finite_and_reaches_every_student_row(over: str) -> None:
    rng = np.random.default_rng(3)
    inputs = rows(rng.normal(size=(4, 6)), rng.normal(size=(4, 6)), rng.normal(size=(3, 6)), [0, 1, 2, 0])
    value(inputs, over=over).backward()
    gradient = inputs.student.embedding.grad
    assert gradient.isfinite().all() and (gradient.abs().sum(dim=1) > 0).all()
    assert inputs.teacher.embedding.grad is None


def test_across_batch_says_whether_other_rows_matter() -> None:
    def across(**options: str) -> bool:
        return build(SimilarityKlConfig(**options), edgefw.BuildContext()).across_batch

    assert not across(over="texts")
    assert across(over="texts", directions="both") and across(over="teacher") and across(over="batch")


def test_only_texts_need_a_text_tower() -> None:
    assert "run.texts" in needs_for(SimilarityKlConfig(over="texts"))
    assert needs_for(SimilarityKlConfig(over="batch")) == {"teacher.embedding"}


def test_both_directions_over_the_batch_are_refused() -> None:
    with pytest.raises(ValidationError, match="symmetric"):
        SimilarityKlConfig(over="batch", directions="both")


def test_missing_texts_name_the_key_to_set() -> None:
    with pytest.raises(TrainingError, match="curate.labels"):
        value(rows(np.ones((2, 3)), np.ones((2, 3)), None, [0, 1]), over="texts")


@pytest.mark.parametrize("over", ["texts", "teacher", "batch"])
@given(seed=st.integers(0, 2**31), soften=st.floats(0.5, 20), compensate=st.booleans())
@settings(max_examples=10, deadline=None)
def test_softening_divides_the_logits_and_may_be_compensated(
    over: str, seed: int, soften: float, compensate: bool
) -> None:
    rng = np.random.default_rng(seed)
    student, teacher, text = rng.normal(size=(5, 7)), rng.normal(size=(5, 7)), rng.normal(size=(3, 7))
    inputs = rows(student, teacher, text, list(range(5)))
    got = value(inputs, over=over, soften=soften, compensate=compensate).item()
    if over == "texts":
        target, logits = 12.5 * unit(teacher) @ unit(text).T / soften, 12.5 * unit(student) @ unit(text).T / soften
        expected = mean_kl(target, logits)
    else:
        expected = value(inputs, over=over, temperature=soften / 12.5).item()
    assert got == pytest.approx(expected * (soften**2 if compensate else 1), rel=1e-3, abs=2e-4)


def test_a_compensated_gradient_keeps_its_size_as_the_distributions_soften() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(4, 6)), rng.normal(size=(4, 6)), rng.normal(size=(3, 6))
    norms = []
    for soften in (50.0, 100.0):
        inputs = rows(*table, list(range(4)))
        value(inputs, soften=soften, compensate=True).backward()
        norms.append(float(inputs.student.embedding.grad.norm()))
    assert norms[1] == pytest.approx(norms[0], rel=0.1)
