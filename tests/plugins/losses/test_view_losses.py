"""`view-adversarial` and `view-consistency` against NumPy; and who gets a gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.errors import RecipeError, TrainingError
from edgefw.plugins.losses import view_adversarial, view_consistency
from edgefw.testing.fakes import build_context, loss_input


def adversarial(**options: Any) -> view_adversarial.ViewAdversarialLoss:
    torch.manual_seed(0)
    return view_adversarial.build(view_adversarial.ViewAdversarialConfig(**options), build_context())


def consistency(**options: Any) -> view_consistency.ViewConsistencyLoss:
    return view_consistency.build(view_consistency.ViewConsistencyConfig(**options), build_context())


def numbers(value: Tensor) -> np.ndarray:
    return value.detach().double().numpy()


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def judged(loss: view_adversarial.ViewAdversarialLoss, rows: np.ndarray) -> np.ndarray:
    """The probability that the discriminator takes each row for real, layer by layer."""
    hidden = unit(rows) * np.sqrt(rows.shape[1])
    weights = [numbers(parameter) for parameter in loss.discriminator.parameters()]
    assert len(weights) == 6  # three linear layers
    for weight, bias in zip(weights[0:4:2], weights[1:4:2]):
        hidden = hidden @ weight.T + bias
        hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    return 1 / (1 + np.exp(-(hidden @ weights[4].T + weights[5])[:, 0]))


def sides(inputs: LossInput, against: str, of: str) -> tuple[np.ndarray, np.ndarray]:
    rows = numbers(getattr(inputs.student, of))
    if against == "teacher":
        return numbers(inputs.teacher.embedding), rows
    role = inputs.role.numpy()
    return rows[role == 0], rows[role > 0]


@pytest.mark.parametrize(("against", "of"), [("teacher", "embedding"), ("clean", "embedding"), ("clean", "pooled")])
def test_both_sides_of_the_game_equal_the_formulas(against: str, of: str) -> None:
    inputs = loss_input(groups=True)
    loss, printed = (adversarial(against=against, of=of, saturating=s) for s in (False, True))
    real, fake = (judged(loss, side) for side in sides(inputs, against, of))
    assert loss.adversary_loss(inputs).item() == pytest.approx(-np.log(real).mean() - np.log(1 - fake).mean(), rel=1e-5)
    assert loss(inputs).item() == pytest.approx(-np.log(fake).mean(), rel=1e-5)
    assert printed(inputs).item() == pytest.approx(np.log(1 - fake).mean(), rel=1e-5)


@pytest.mark.parametrize("against", ["teacher", "clean"])
@pytest.mark.parametrize("saturating", [False, True])
def test_the_gradient_reaches_the_student_and_is_that_of_the_formula(against: str, saturating: bool) -> None:
    """What the released code of the method loses: its fake rows are detached."""
    inputs = loss_input(groups=True)
    loss = adversarial(against=against, saturating=saturating)
    loss.requires_grad_(False)  # the student's step, as the engine takes it
    loss(inputs).backward()
    found = numbers(inputs.student.embedding.grad)
    rows, step = numbers(inputs.student.embedding), 1e-5
    is_fake = np.ones(len(rows), bool) if against == "teacher" else inputs.role.numpy() > 0

    def value(changed: np.ndarray) -> float:
        fake = judged(loss, changed[is_fake])
        return float(np.log(1 - fake).mean() if saturating else -np.log(fake).mean())

    for row, column in ((0, 0), (1, 3), (2, 7), (11, 15)):
        moved = [rows.copy(), rows.copy()]
        moved[0][row, column] += step
        moved[1][row, column] -= step
        expected = (value(moved[0]) - value(moved[1])) / (2 * step)
        assert found[row, column] == pytest.approx(expected, abs=1e-6), (row, column)
    assert (np.abs(found[is_fake]).sum(axis=1) > 0).all() and np.abs(found[~is_fake]).sum() == 0
    assert all(parameter.grad is None for parameter in loss.parameters())


def reference(inputs: LossInput, distance: str, of: str) -> float:
    """Loops over pairs of rows."""
    rows = unit(numbers(getattr(inputs.student, of)))
    role, group, kind = (getattr(inputs, name).numpy() for name in ("role", "group", "modality"))
    found = []
    for r in range(len(rows)):
        for c in range(len(rows)):
            if role[r] > 0 and role[c] == 0 and group[r] == group[c] and kind[r] == kind[c]:
                found.append(1 - rows[r] @ rows[c] if distance == "cosine" else ((rows[r] - rows[c]) ** 2).mean())
    return float(np.mean(found))


@pytest.mark.parametrize("distance", ["cosine", "mse"])
@pytest.mark.parametrize("of", ["embedding", "pooled"])
def test_consistency_equals_the_formula_per_modality_and_with_rows_missing(distance: str, of: str) -> None:
    inputs = loss_input(groups=True)
    inputs = replace(inputs, modality=torch.tensor([0, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0, 1]))
    loss = consistency(distance=distance, of=of)
    assert loss(inputs).item() == pytest.approx(reference(inputs, distance, of), rel=1e-5)
    lonely = replace(inputs, role=torch.ones_like(inputs.role))
    assert loss(lonely).item() == 0 and loss(lonely).requires_grad


@pytest.mark.parametrize("both", [False, True])
def test_the_clean_view_is_a_target_unless_both_learn(both: bool) -> None:
    inputs = loss_input(groups=True)
    consistency(both=both)(inputs).backward()
    moved = inputs.student.embedding.grad.abs().sum(dim=1) > 0
    assert moved.tolist() == [both or role > 0 for role in inputs.role.tolist()]


def test_views_that_say_the_same_cost_nothing() -> None:
    inputs = loss_input(groups=True)
    same = inputs.student.embedding.detach()[inputs.group * 3] * (1 + inputs.role[:, None])
    assert consistency()(replace(inputs, student=inputs.student._replace(embedding=same))).item() == pytest.approx(
        0, abs=1e-6
    )


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(ValidationError, match="of: pooled needs against: clean"):
        view_adversarial.ViewAdversarialConfig(of="pooled")
    with pytest.raises(RecipeError, match="a discriminator is built after student and teacher"):
        view_adversarial.build(view_adversarial.ViewAdversarialConfig(), edgefw.BuildContext())
    bare = replace(loss_input(), role=None, group=None)
    with pytest.raises(TrainingError, match="the rows have no roles. Use sampler view-groups"):
        adversarial(against="clean")(bare)
    with pytest.raises(TrainingError, match="the rows form no groups. Use sampler view-groups"):
        consistency()(bare)


def test_a_loss_asks_for_what_it_compares() -> None:
    needs, config = view_adversarial.needs_for, view_adversarial.ViewAdversarialConfig
    assert needs(config()) == {"teacher.embedding"}
    assert needs(config(against="clean")) == {"sampler.views", "view.clean"}
    assert needs(config(against="clean", of="pooled")) == {"sampler.views", "view.clean", "student.pooled"}
