"""The feature loss against NumPy; what it does not depend on; where its gradient goes."""

from __future__ import annotations

from dataclasses import replace

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
from edgefw.plugins.losses.feature import FeatureConfig, FeatureLoss, build
from edgefw.testing.fakes import loss_input, student_output


def rows(student: np.ndarray, teacher: np.ndarray) -> LossInput:
    count = len(student)
    embedding = torch.tensor(student, dtype=torch.float32, requires_grad=True)
    return LossInput(
        student=StudentOutput(embedding, torch.zeros(count, 1), None),
        teacher=TeacherOutput(embedding=torch.tensor(teacher, dtype=torch.float32, requires_grad=True)),
        modality=torch.zeros(count, dtype=torch.int64),
        sample=torch.arange(count),
        label=torch.full((count,), -1),
        logit_scale=100.0,
    )


def loss(distance: str) -> FeatureLoss:
    return build(FeatureConfig(distance=distance), edgefw.BuildContext())


def reference(distance: str, student: np.ndarray, teacher: np.ndarray) -> float:
    total, elements = 0.0, 0
    for s, t in zip(student.astype(np.float64), teacher.astype(np.float64)):
        u, v = s / np.sqrt((s**2).sum()), t / np.sqrt((t**2).sum())
        if distance == "cosine":
            total, elements = total + 1 - float(u @ v), elements + 1
        else:
            difference = np.abs(u - v) if distance == "l1" else (u - v) ** 2
            total, elements = total + float(difference.sum()), elements + len(u)
    return total / elements


@pytest.mark.parametrize("distance", ["l1", "mse", "cosine"])
@given(seed=st.integers(0, 2**31), count=st.integers(1, 9), width=st.integers(2, 33))
@settings(max_examples=15, deadline=None)
def test_value_equals_numpy(distance: str, seed: int, count: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(count, width)), rng.normal(size=(count, width))
    value = loss(distance)(rows(student, teacher)).item()
    assert value == pytest.approx(reference(distance, student, teacher), abs=1e-6)


@pytest.mark.parametrize("distance", ["l1", "mse", "cosine"])
def test_lengths_do_not_matter_and_equal_directions_cost_nothing(distance: str) -> None:
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(4, 8)), rng.normal(size=(4, 8))
    longer = loss(distance)(rows(7 * student, 0.1 * teacher)).item()
    assert longer == pytest.approx(loss(distance)(rows(student, teacher)).item(), abs=1e-6)
    assert loss(distance)(rows(3 * teacher, teacher)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("distance", ["l1", "mse", "cosine"])
def test_gradient_reaches_every_student_row(distance: str) -> None:
    rng = np.random.default_rng(2)
    inputs = rows(rng.normal(size=(5, 8)), rng.normal(size=(5, 8)))
    loss(distance)(inputs).backward()
    assert (inputs.student.embedding.grad.abs().sum(dim=1) > 0).all()


def test_a_row_depends_on_itself_only() -> None:
    assert not loss("l1").across_batch


def test_an_unknown_distance_is_refused() -> None:
    with pytest.raises(ValidationError, match="l1"):
        FeatureConfig(distance="l3")


def test_against_another_it_is_the_distance_to_that_one() -> None:
    inputs = loss_input()
    inputs = replace(inputs, reference=student_output(seed=6), peer=student_output(seed=7))
    for against in ("reference", "peer"):
        other = getattr(inputs, against)
        units = [
            side / np.linalg.norm(side, axis=1, keepdims=True)
            for side in (said.embedding.detach().numpy() for said in (inputs.student, other))
        ]
        value = FeatureLoss("l1", against)(inputs).item()
        assert value == pytest.approx(float(np.abs(units[0] - units[1]).mean()), rel=1e-5)
        maps = [said.map.detach().numpy() for said in (inputs.student, other)]
        value = FeatureLoss("mse", against, of="map")(inputs).item()
        assert value == pytest.approx(float(((maps[0] - maps[1]) ** 2).mean()), rel=1e-5)


def test_whoever_is_missing_or_of_another_shape_is_named() -> None:
    inputs = loss_input()
    with pytest.raises(
        TrainingError, match="against peer: the scheme gives none. Use a scheme that provides scheme.peer"
    ):
        FeatureLoss("l1", "peer")(replace(inputs, peer=None))
    other = inputs.peer._replace(map=inputs.peer.map[:, :, :2])
    with pytest.raises(
        TrainingError, match=r"of map against peer: shapes \(8, 4, 4\) and \(8, 2, 4\) cannot be compared"
    ):
        FeatureLoss("mse", "peer", of="map")(replace(inputs, peer=other))
    with pytest.raises(ValidationError, match="of: map needs against: reference or peer"):
        FeatureConfig(of="map")
