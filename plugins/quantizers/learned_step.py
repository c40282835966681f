"""Rounding with a step that is trained.

    q = clamp(round(x / s), -limit - 1, limit),   x' = s q,   s = s_0 exp(theta),   theta from 0
    dx'/dx = 1 inside the range, else 0;   dx'/ds = round(x / s) - x / s inside, -limit - 1 or limit outside

The gradient of s is divided by sqrt(numbers of x * limit). s_0 puts the largest absolute value of the first training
batch on the limit. Source: Esser et al. 2020 (LSQ), arXiv:1902.08153, sections 2.1 and 2.2.
Differs: theta is trained instead of s (Jain et al. 2020, arXiv:1903.08066, argue for the logarithm), since a step may be
smaller than a few learning rates; LSQ starts at 2 mean|x| / sqrt(limit), which is made for few bits: at 8 it covers 18
standard deviations. Does not: train a zero point.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgefw.plugins.quantizers.fake_quantise import SMALLEST_STEP, Rounding, Step


class LearnedStep(nn.Module):
    """Fake quantisation of one activation, symmetric; its step is a parameter.

    Args:
        rounding: the bits; its ranges are not used.
    """

    start: Tensor

    def __init__(self, rounding: Rounding) -> None:
        super().__init__()
        self.rounding = rounding
        self.theta = nn.Parameter(torch.zeros(()))
        self.register_buffer("start", torch.tensor(float("inf")))

    def forward(self, values: Tensor) -> Tensor:
        """The values on the grid, float32; in evaluation before any training, on a grid of their own."""
        lowest, highest = self.rounding.limits
        values = values.float()
        step = self._started(values.detach(), highest) * self.theta.exp()
        step = _scaled_gradient(step, 1.0 / math.sqrt(values.numel() * highest))
        inside = (values / step).clamp(lowest, highest)
        return (inside + (inside.round() - inside).detach()) * step

    def step(self) -> Step | None:
        """The grid, or None before any training batch."""
        if not bool(self.start.isfinite()):
            return None
        scale = (self.start * self.theta.exp()).detach()
        return Step(scale, torch.zeros((), dtype=torch.int32, device=scale.device))

    @torch.no_grad()
    def _started(self, values: Tensor, highest: int) -> Tensor:
        largest = (values.abs().amax() / highest).clamp_min(SMALLEST_STEP)
        start = torch.where(self.start.isinf(), largest, self.start)
        if self.training:
            self.start.copy_(start)
        return start


def _scaled_gradient(value: Tensor, factor: float) -> Tensor:
    return value.detach() + (value - value.detach()) * factor
