"""Rounding against NumPy: steps, clamping, remembered ranges, and the straight-through gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgefw.plugins.quantizers.fake_quantise import (
    RoundedActivation,
    Rounding,
    integer_weight,
    rounded_weight,
)


def numpy_rounded(
    values: np.ndarray, low: float, high: float, bits: int, affine: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(rounded values, whether each lies inside the grid), in float64."""
    levels = 2**bits
    if affine:
        lowest, highest = 0, levels - 1
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / (levels - 1)
        zero = np.clip(np.round(-low / scale), lowest, highest)
    else:
        lowest, highest = -levels // 2, levels // 2 - 1
        scale, zero = max(-low, high) / highest, 0
    whole = np.round(values / scale) + zero
    inside = (whole >= lowest) & (whole <= highest)
    return (np.clip(whole, lowest, highest) - zero) * scale, inside


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0.3, 1.0, shape).astype(np.float32))


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("bits", [8, 4])
def test_an_activation_is_rounded_as_numpy_rounds_it(bits: int, affine: bool) -> None:
    values = draw(64, 33)
    module = RoundedActivation(Rounding(bits=bits, affine=affine)).train()
    expected, _ = numpy_rounded(values.double().numpy(), values.min().item(), values.max().item(), bits, affine)
    found = module(values).numpy()
    step = np.ptp(values.numpy()) / 2**bits
    np.testing.assert_allclose(found, expected, atol=1e-5 + 1.1 * step * _ties(found, expected, step))
    assert len(np.unique(found)) <= 2**bits


def _ties(found: np.ndarray, expected: np.ndarray, step: float) -> float:
    """1 if a handful of values on the edge of two steps went the other way in float32, else 0."""
    share = float((np.abs(found - expected) > 0.5 * step).mean())
    assert share < 0.002
    return 1.0 if share else 0.0


@pytest.mark.parametrize("affine", [False, True])
def test_the_gradient_passes_inside_the_grid_and_stops_outside(affine: bool) -> None:
    module = RoundedActivation(Rounding(affine=affine)).train()
    module(torch.tensor([-1.0, 2.0]))
    module.eval()
    values = torch.tensor([-5.0, -0.91, 0.0, 0.31, 1.92, 7.0], requires_grad=True)
    found = module(values)
    expected, inside = numpy_rounded(values.detach().double().numpy(), -1.0, 2.0, 8, affine)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)
    (found * torch.arange(1.0, 7.0)).sum().backward()
    np.testing.assert_array_equal(values.grad.numpy(), np.arange(1.0, 7.0) * inside)


def test_weights_are_rounded_channel_by_channel_and_stored_as_the_same_integers() -> None:
    weight = draw(6, 5, 3, 3).requires_grad_()
    limit = Rounding(weight_bits=8).weight_limit
    scale = np.abs(weight.detach().double().numpy()).reshape(6, -1).max(axis=1) / 127
    expected = np.round(weight.detach().double().numpy() / scale.reshape(6, 1, 1, 1)) * scale.reshape(6, 1, 1, 1)
    found = rounded_weight(weight, limit)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-6)
    whole, steps = integer_weight(weight, limit)
    assert whole.dtype == torch.int8
    assert torch.equal(whole.float() * steps.view(-1, 1, 1, 1), found)
    found.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_training_uses_the_range_of_the_batch_and_evaluation_a_moving_average() -> None:
    module = RoundedActivation(Rounding(momentum=0.5)).train()
    for high in (2.0, 4.0):
        found = module(torch.tensor([-1.0, 0.5, high]))
        assert found.max().item() == pytest.approx(high)
    low, high = module.remembered()
    assert (low.item(), high.item()) == pytest.approx((-1.0, 3.0))
    assert module.eval()(torch.tensor([9.0])).item() == pytest.approx(3.0)


def test_recent_ranges_are_the_widest_of_the_last_batches() -> None:
    module = RoundedActivation(Rounding(static="recent", batches=2)).train()
    for size in (9.0, 3.0, 2.0):
        module(torch.tensor([-size, size / 2]))
    assert [value.item() for value in module.remembered()] == [-3.0, 1.5]


def test_static_training_rounds_with_the_remembered_range() -> None:
    module = RoundedActivation(Rounding(training="static", momentum=0.5)).train()
    module(torch.tensor([-1.0, 1.0]))
    assert module(torch.tensor([-1.0, 3.0])).max().item() == pytest.approx(2.0)  # 0.5 * 1 + 0.5 * 3


def test_a_tensor_of_zeros_and_one_never_seen_are_rounded_too() -> None:
    module = RoundedActivation(Rounding())
    assert module.step() is None
    assert module.eval()(torch.tensor([0.25, -1.0])).tolist() == pytest.approx([0.25197, -1.0], abs=1e-4)
    assert torch.equal(module.train()(torch.zeros(3)), torch.zeros(3))


def test_rounding_twice_changes_nothing() -> None:
    module = RoundedActivation(Rounding()).train()
    once = module(draw(50))
    torch.testing.assert_close(module.eval()(once), once, atol=1e-6, rtol=0)
