"""Distribution guided distillation against N x N matrices in NumPy; invariances; what is asked of a phase."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.contracts.loss import LossInput
from edgefw.contracts.student import AttentionHeads, StudentOutput
from edgefw.errors import TrainingError
from edgefw.plugins.losses.distribution_guided import DistributionGuidedLoss, similarity_distance
from edgefw.testing.fakes import loss_input, student_output

SHAPES = [(3, 2, 9, 4), (3, 5, 2, 6, 3)]
"""(B, heads, N, d), and (B, windows, heads, N, d)."""


def layers(seed: int) -> tuple[AttentionHeads, ...]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(AttentionHeads(*(torch.randn(*shape, generator=draw) for _ in range(2))) for shape in SHAPES)


def inputs(ours: tuple[AttentionHeads, ...] | None, theirs: tuple[AttentionHeads, ...] | None) -> LossInput:
    student, reference = (StudentOutput(*student_output(3)[:3], attention) for attention in (ours, theirs))
    return replace(loss_input(student_output(3)), student=student, reference=reference)


def matrix_distance(one: np.ndarray, other: np.ndarray) -> float:
    """|G - G'| of (N, d) and (N, d), as the paper writes it."""
    first, second = one @ one.T, other @ other.T
    return float(np.linalg.norm(first / np.linalg.norm(first) - second / np.linalg.norm(second)))


def mean_over_heads(one: torch.Tensor, other: torch.Tensor) -> float:
    pairs = zip(one.double().numpy().reshape(-1, *one.shape[-2:]), other.double().numpy().reshape(-1, *one.shape[-2:]))
    return float(np.mean([matrix_distance(a, b) for a, b in pairs]))


def test_the_loss_is_that_of_the_similarity_matrices() -> None:
    ours, theirs = layers(0), layers(1)
    expected = np.mean([sum(mean_over_heads(a, b) for a, b in zip(one, other)) for one, other in zip(ours, theirs)])
    assert float(DistributionGuidedLoss()(inputs(ours, theirs))) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(1e-4, 2.0))
def test_small_and_large_distances_are_exact(seed: int, noise: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    one = torch.randn(1, 8, 3, generator=draw, dtype=torch.float64)
    other = one + noise * torch.randn(1, 8, 3, generator=draw, dtype=torch.float64)
    expected = matrix_distance(one[0].numpy(), other[0].numpy())
    assert float(similarity_distance(one, other)) == pytest.approx(expected, rel=2e-3, abs=2e-6)


def test_scale_and_rotation_cost_nothing_and_equal_layers_have_a_finite_gradient() -> None:
    ours = layers(0)
    torch.manual_seed(5)
    turn = [torch.linalg.qr(torch.randn(shape[-1], shape[-1]))[0] for shape in SHAPES]
    turned = tuple(AttentionHeads(3 * q @ r, 0.2 * k @ r) for (q, k), r in zip(ours, turn))
    assert float(DistributionGuidedLoss()(inputs(ours, turned))) < 1e-3
    live = tuple(AttentionHeads(*(part.clone().requires_grad_() for part in layer)) for layer in ours)
    value = DistributionGuidedLoss()(inputs(live, ours))
    value.backward()
    assert float(value) == 0.0
    assert all(torch.isfinite(part.grad).all() for layer in live for part in layer)


def test_the_gradient_brings_the_similarities_together() -> None:
    theirs = layers(1)
    live = tuple(AttentionHeads(*(part.clone().requires_grad_() for part in layer)) for layer in layers(0))
    optimiser = torch.optim.Adam([part for layer in live for part in layer], 0.05)
    before = float(DistributionGuidedLoss()(inputs(live, theirs)))
    for _ in range(40):
        optimiser.zero_grad()
        DistributionGuidedLoss()(inputs(live, theirs)).backward()
        optimiser.step()
    assert float(DistributionGuidedLoss()(inputs(live, theirs))) < 0.4 * before


def test_what_is_missing_is_said() -> None:
    loss = DistributionGuidedLoss()
    with pytest.raises(TrainingError, match="the reference gives no attention layers. Use a student that provides"):
        loss(replace(inputs(layers(0), layers(1)), reference=None))
    with pytest.raises(TrainingError, match="the student gives no attention layers"):
        loss(inputs((), layers(1)))
    with pytest.raises(TrainingError, match=r"student and reference differ in their attention layers \(1 and 2"):
        loss(inputs(layers(0)[:1], layers(1)))
