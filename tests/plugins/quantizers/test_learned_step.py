"""The learnt step against LSQ's formulas written out in NumPy."""

from __future__ import annotations

import numpy as np
import torch

from edgefw.plugins.quantizers.fake_quantise import Rounding
from edgefw.plugins.quantizers.learned_step import LearnedStep

VALUES = np.array([-3.0, -1.2, -0.41, 0.0, 0.26, 0.7, 1.9, 2.6])


def test_values_and_gradients_are_those_of_lsq() -> None:
    grid = LearnedStep(Rounding(bits=3))
    lowest, highest = -4, 3
    grid.start.fill_(0.5)
    with torch.no_grad():
        grid.theta.fill_(0.1)
    values = torch.tensor(VALUES, dtype=torch.float32, requires_grad=True)
    outer = np.linspace(-1, 2, len(VALUES))
    found = grid(values)
    (found * torch.from_numpy(outer)).sum().backward()
    step = 0.5 * np.exp(0.1)
    scaled = VALUES / step
    inside = (scaled >= lowest) & (scaled <= highest)
    np.testing.assert_allclose(found.detach(), step * np.clip(np.round(scaled), lowest, highest), rtol=1e-6)
    np.testing.assert_allclose(values.grad, outer * inside, atol=1e-6)
    slope = np.where(inside, np.round(scaled) - scaled, np.clip(scaled, lowest, highest))
    expected = (slope * outer).sum() / np.sqrt(len(VALUES) * highest) * step
    np.testing.assert_allclose(float(grid.theta.grad), expected, rtol=1e-5)


def test_the_first_training_batch_sets_the_range_and_later_ones_do_not() -> None:
    grid = LearnedStep(Rounding()).eval()
    assert grid.step() is None
    values = torch.from_numpy(VALUES).float()
    torch.testing.assert_close(grid(values), values, atol=3.0 / 127 / 2 + 1e-6, rtol=0)
    assert grid.step() is None
    grid.train()(values)
    grid(values * 10)
    step = grid.step()
    assert step is not None and abs(float(step.scale) - 3.0 / 127) < 1e-6


def test_training_the_step_brings_the_rounded_values_nearer() -> None:
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(4000, generator=draw)
    grid = LearnedStep(Rounding(bits=2))
    grid(values)
    before = float((grid(values) - values).detach().square().mean())
    optimiser = torch.optim.Adam(grid.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        (grid(values) - values).square().mean().backward()
        optimiser.step()
    assert float((grid(values) - values).detach().square().mean()) < 0.7 * before
