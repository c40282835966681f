"""Queries or keys of one attention layer, shaped for rounding: Q-ViT's information rectification module.

    x^ = (x - mu) / sqrt(var + eps),   x~ = gamma x^ + beta + mu_0 / sigma_0,   y = sigma_0 round(x~)

gamma and beta are learnt, per head and channel, from 1 and 0. For values of a normal distribution, the entropy of what
is rounded grows with the logarithm of their deviation over the step: after the division every head has the same, so
that one step serves all, and gamma moves it from there. mu and var are those of a head over the images, tokens and
channels of a batch in training, and a moving average in evaluation ("head"); or those of each token ("token").
mu_0 and sigma_0 are constants, per head: the mean and deviation of the first training batch.
Source: Li et al. 2022 (Q-ViT), arXiv:2210.06707, information rectification module; statistics per token are its released
code's (a LayerNorm).
Differs: mu_0 and sigma_0, without which a trained network's attention would be another one as soon as the phase begins;
with them it starts from what it was (exactly, with statistics of heads). sigma_0 is one factor per head, so that an
integer product stays possible. The paper divides by gamma, and adds beta before.
Does not: round values and attention weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from edgefw.plugins.quantizers.fake_quantise import RoundedActivation, Rounding
from edgefw.plugins.quantizers.learned_step import LearnedStep
from edgefw.plugins.quantizers.rounded_layers import integer_activation

EPSILON = 1e-6

Statistics = Literal["head", "token"]
Steps = Literal["learned", "range"]


class Moments(NamedTuple):
    """Mean and biased variance, in shapes that go with (..., heads, N, d)."""

    mean: Tensor
    variance: Tensor


class Rectification(nn.Module):
    """Takes the place of a layer's `q_norm` or `k_norm`: (..., heads, N, d) to the same, rectified and rounded.

    Args:
        before: what stood there; it still runs first.
        heads, depth: the layer's heads, and the d numbers of each.
        rounding: bits, and the ranges where `steps` is "range"; its momentum is that of the moving averages.
        statistics: what mean and variance are taken over.
        steps: whether the step is trained, or follows the range as elsewhere in the network.
    """

    mean: Tensor
    variance: Tensor
    gain: Tensor
    centre: Tensor

    def __init__(
        self, before: nn.Module, heads: int, depth: int, rounding: Rounding, statistics: Statistics, steps: Steps
    ) -> None:
        super().__init__()
        self.before, self.heads, self.depth, self.statistics = before, heads, depth, statistics
        self.momentum, self.remembers = rounding.momentum, rounding.training == "static"
        self.gamma = nn.Parameter(torch.ones(heads * depth))
        self.beta = nn.Parameter(torch.zeros(heads * depth))
        self.grid = LearnedStep(replace(rounding, affine=False)) if steps == "learned" else RoundedActivation(rounding)
        for name in ("gain", "centre", *(("mean", "variance") if statistics == "head" else ())):
            self.register_buffer(name, torch.full((heads, 1, 1), float("inf")))

    def forward(self, values: Tensor) -> Tensor:
        """The formula above; in evaluation before any training, with the values' own numbers."""
        values = self.before(values)
        moments = self._moments(values.float())
        gain, centre = self._constants(moments)
        normal = (values.float() - moments.mean) * (moments.variance + EPSILON).rsqrt()
        shaped = normal * self._by_head(self.gamma) + self._by_head(self.beta) + centre
        rounded: Tensor = self.grid(shaped) * gain
        return rounded.to(values.dtype)

    def converted(self, where: str) -> nn.Module:
        """What does the same on the device.

        Raises:
            ExportError: if the layer was not used in training.
        """
        grid = integer_activation(self.grid, where)
        gamma = self._by_head(self.gamma).detach()
        shift = self._by_head(self.beta).detach() + self.centre
        if self.statistics == "token":
            return TokenRectification(self.before, gamma, shift, grid, self.gain)
        scale = gamma * (self.variance + EPSILON).rsqrt()
        return HeadRectification(self.before, scale, shift - self.mean * scale, grid, self.gain)

    def _by_head(self, values: Tensor) -> Tensor:
        return values.view(self.heads, 1, self.depth)

    def _moments(self, values: Tensor) -> Moments:
        if self.statistics == "token":
            return token_moments(values)
        seen = head_moments(values)
        if not self.training:
            new = self.mean.isinf()
            return Moments(torch.where(new, seen.mean, self.mean), torch.where(new, seen.variance, self.variance))
        self._remember(seen)
        return Moments(self.mean.clone(), self.variance.clone()) if self.remembers else seen

    @torch.no_grad()
    def _remember(self, seen: Moments) -> None:
        new = self.mean.isinf()
        for kept, value in ((self.mean, seen.mean), (self.variance, seen.variance)):
            kept.copy_(torch.where(new, value, kept.lerp(value, 1.0 - self.momentum)))

    @torch.no_grad()
    def _constants(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """sigma_0 and mu_0 / sigma_0, each (heads, 1, 1)."""
        deviation = (moments.variance + EPSILON).sqrt()
        mean, deviation = (_mean_of_heads(value) for value in (moments.mean, deviation))
        gain = torch.where(self.gain.isinf(), deviation, self.gain)
        centre = torch.where(self.centre.isinf(), mean / deviation, self.centre)
        if self.training:
            self.gain.copy_(gain)
            self.centre.copy_(centre)
        return gain, centre


class HeadRectification(nn.Module):
    """Rectification with fixed numbers: one product and one sum, then the grid.

    Args:
        before: what runs first.
        scale, shift: (heads, 1, d).
        grid: rounds.
        gain: (heads, 1, 1).
    """

    scale: Tensor
    shift: Tensor
    gain: Tensor

    def __init__(self, before: nn.Module, scale: Tensor, shift: Tensor, grid: nn.Module, gain: Tensor) -> None:
        super().__init__()
        self.before, self.grid = before, grid
        for name, value in (("scale", scale), ("shift", shift), ("gain", gain)):
            self.register_buffer(name, value.detach().clone())

    def forward(self, values: Tensor) -> Tensor:
        """(..., heads, N, d) to the same."""
        rounded: Tensor = self.grid(self._normal(self.before(values)) * self.scale + self.shift) * self.gain
        return rounded

    def _normal(self, values: Tensor) -> Tensor:
        return values


class TokenRectification(HeadRectification):
    """The same after each token's own mean and deviation are taken out."""

    def _normal(self, values: Tensor) -> Tensor:
        moments = token_moments(values)
        return (values - moments.mean) * (moments.variance + EPSILON).rsqrt()


def token_moments(values: Tensor) -> Moments:
    """Over the d numbers of each token, (..., heads, N, 1)."""
    mean = values.mean(dim=-1, keepdim=True)
    return Moments(mean, (values - mean).square().mean(dim=-1, keepdim=True))


def head_moments(values: Tensor) -> Moments:
    """Over images, tokens and channels of each head, (heads, 1, 1)."""
    heads = values.shape[-3]
    rows = values.movedim(-3, 0).reshape(heads, -1)
    mean = rows.mean(dim=1)
    variance = (rows - mean[:, None]).square().mean(dim=1)
    return Moments(mean.view(heads, 1, 1), variance.view(heads, 1, 1))


def _mean_of_heads(values: Tensor) -> Tensor:
    """Moments of heads as they are, those of tokens averaged: (heads, 1, 1)."""
    return values.movedim(-3, 0).flatten(1).mean(dim=1).view(-1, 1, 1)
