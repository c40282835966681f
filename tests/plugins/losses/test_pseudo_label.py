"""The pseudo-label loss against NumPy loops; its relation to KL; what it needs; gradients."""

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
from edgefw.errors import TrainingError
from edgefw.plugins.losses.pseudo_label import PseudoLabelConfig, build


def rows(student: np.ndarray, teacher: np.ndarray, text: np.ndarray | None) -> LossInput:
    count = len(student)
    embedding = torch.tensor(student, dtype=torch.float32, requires_grad=True)
    return LossInput(
        student=StudentOutput(embedding, torch.zeros(count, 1), None),
        teacher=TeacherOutput(embedding=torch.tensor(teacher, dtype=torch.float32)),
        modality=torch.zeros(count, dtype=torch.int64),
        sample=torch.arange(count),
        label=torch.full((count,), -1),
        logit_scale=12.5,
        text=None if text is None else torch.tensor(text, dtype=torch.float32),
    )


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(5, 7)), rng.normal(size=(5, 7)), rng.normal(size=(4, 7))


def value(inputs: LossInput, **options: object) -> torch.Tensor:
    return build(PseudoLabelConfig(**options), edgefw.BuildContext())(inputs)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


def reference(
    student: np.ndarray, teacher: np.ndarray, text: np.ndarray, hard: bool, smoothing: float, scale: float
) -> float:
    found, labels = [], len(text)
    for s, t in zip(unit(student), unit(teacher)):
        ours, theirs = softmax(scale * unit(text) @ s), softmax(scale * unit(text) @ t)
        target = np.eye(labels)[theirs.argmax()] if hard else theirs
        target = (1 - smoothing) * target + smoothing / labels
        found.append(-(target * np.log(ours)).sum())
    return float(np.mean(found))


@given(
    seed=st.integers(0, 2**31),
    target=st.sampled_from(["hard", "soft"]),
    smoothing=st.floats(0, 0.9),
    scale=st.one_of(st.none(), st.floats(0.5, 50)),
)
@settings(max_examples=40, deadline=None)
def test_value_equals_numpy(seed: int, target: str, smoothing: float, scale: float | None) -> None:
    table = drawn(seed)
    got = value(rows(*table), target=target, smoothing=smoothing, scale=scale).item()
    expected = reference(*table, target == "hard", smoothing, scale or 12.5)
    assert got == pytest.approx(expected, abs=5e-4)


def test_the_soft_form_is_kl_plus_the_teachers_entropy() -> None:
    from edgefw.plugins.losses.similarity_kl import SimilarityKlConfig
    from edgefw.plugins.losses.similarity_kl import build as build_kl

    student, teacher, text = drawn(1)
    kl = build_kl(SimilarityKlConfig(), edgefw.BuildContext())(rows(student, teacher, text)).item()
    entropy = np.mean([-(p * np.log(p)).sum() for p in (softmax(12.5 * unit(text) @ t) for t in unit(teacher))])
    assert value(rows(student, teacher, text), target="soft").item() == pytest.approx(kl + entropy, abs=1e-4)


def test_neither_scale_nor_order_of_rows_and_texts_matters() -> None:
    student, teacher, text = drawn(2)
    plain = value(rows(student, teacher, text)).item()
    moved = value(rows(3 * student[::-1].copy(), 0.2 * teacher[::-1].copy(), 5 * text[::-1].copy())).item()
    assert moved == pytest.approx(plain, abs=1e-5)


def test_a_student_that_is_sure_of_the_teachers_text_pays_nothing() -> None:
    text = np.eye(4)
    assert value(rows(text[:3], text[:3] + 0.1, text), scale=100.0).item() == pytest.approx(0, abs=1e-6)


def test_gradients_reach_the_student_and_not_the_teacher() -> None:
    inputs = rows(*drawn(3))
    inputs.teacher.embedding.requires_grad_(False)
    value(inputs, target="soft").backward()
    assert (inputs.student.embedding.grad.abs().sum(dim=1) > 0).all()
    assert inputs.teacher.embedding.grad is None


def test_without_texts_it_says_what_to_set() -> None:
    student, teacher, _ = drawn(4)
    with pytest.raises(TrainingError, match="'pseudo-label' has no texts. Set curate.labels or evaluate.labels"):
        value(rows(student, teacher, None))
