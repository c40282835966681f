"""Layers that round their input and their weights in training, and the integer layers that they become at export.

A rounded layer holds the float layer, so both share their parameters. A convolution takes the batch norm that follows
it along: the weights that are rounded are the folded ones, w gamma / sigma, with the running sigma, as they will be on
the device; in training the batch's own statistics still normalise (Jacob et al. 2018, arXiv:1712.05877, section 3.2;
Krishnamoorthi 2018, arXiv:1806.08342, section 7). Which layers of a network are replaced is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgefw.errors import ExportError
from edgefw.plugins.quantizers.convolution import convolve
from edgefw.plugins.quantizers.fake_quantise import (
    Grid,
    RoundedActivation,
    RoundedBefore,
    Rounding,
    least_weight_step,
    rounded_bias,
    rounded_weight,
    smallest_weight_step,
    weight_scale,
)
from edgefw.plugins.quantizers.integer_layers import IntegerActivation, IntegerConv, IntegerLinear

SMALLEST_FACTOR = 1e-6


class RoundedLayer(nn.Module):
    """A float layer with what rounds around it; attributes that it has not are the float layer's.

    Args:
        layer: the float layer; its parameters stay where they are.
        rounding: bits and ranges.
        round_output: whether the result is rounded too.
    """

    def __init__(self, layer: nn.Module, rounding: Rounding, round_output: bool) -> None:
        super().__init__()
        self.layer = layer
        self.rounding = rounding
        self.input: RoundedActivation | RoundedBefore = RoundedActivation(rounding)
        self.output = RoundedActivation(rounding) if round_output else nn.Identity()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def on_device(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | float]:
        """Weights, the bias on the device's grid, and the least step of the weights; as they are before any range."""
        known = self.input.step()
        if bias is None or known is None:
            return weight, bias, least_weight_step(weight, self.rounding)
        smallest = least_weight_step(weight, self.rounding, smallest_weight_step(bias, known.scale))
        step = weight_scale(weight, self.rounding.weight_limit, smallest)
        return weight, rounded_bias(bias, known.scale, step), smallest

    def rounded(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What is computed with: in evaluation what the device has, in training a bias that is not rounded."""
        smallest = least_weight_step(weight, self.rounding)
        if not self.training:
            weight, bias, smallest = self.on_device(weight, bias)
        return rounded_weight(weight, self.rounding.weight_limit, smallest), bias

    def integer_input(self, where: str) -> nn.Module:
        """What rounds the input on the device; nothing where the layer before did."""
        return nn.Identity() if isinstance(self.input, RoundedBefore) else integer_activation(self.input, where)

    def integer_output(self, where: str) -> nn.Module:
        """What rounds the result on the device."""
        return integer_activation(self.output, where) if isinstance(self.output, RoundedActivation) else nn.Identity()


class RoundedLinear(RoundedLayer):
    """A linear layer on rounded inputs and weights."""

    def forward(self, values: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        layer = cast(nn.Linear, self.layer)
        values = self.input(values)
        weight, bias = self.rounded(layer.weight, layer.bias)
        found: Tensor = self.output(functional.linear(values, weight, bias))
        return found

    def converted(self, where: str) -> nn.Module:
        """The integer layer of the static ranges."""
        layer = cast(nn.Linear, self.layer)
        weight, bias, smallest = self.on_device(layer.weight, layer.bias)
        return IntegerLinear(
            weight,
            bias,
            self.rounding.weight_limit,
            smallest,
            input=self.integer_input(where),
            output=self.integer_output(where),
        )


class RoundedConv(RoundedLayer):
    """A convolution on rounded inputs and weights, with the batch norm that follows it.

    Args:
        norm: the batch norm, or None.
        freeze: normalise with the running statistics in training too.
        rectify: a ReLU or ReLU6 that follows the norm, or None. Its result is rounded instead, to whole numbers from 0
            on: on the device their lower bound is the ReLU.
    """

    def __init__(
        self,
        layer: nn.Conv2d,
        rounding: Rounding,
        round_output: bool,
        norm: nn.BatchNorm2d | None,
        freeze: bool,
        rectify: nn.Module | None = None,
    ) -> None:
        super().__init__(layer, rounding, round_output)
        self.norm = norm
        self.freeze = freeze
        self.rectify = rectify or nn.Identity()
        if rectify is not None:
            self.output = RoundedActivation(replace(rounding, affine=True))

    def forward(self, values: Tensor) -> Tensor:
        """(B, C, H, W) to (B, O, H', W')."""
        layer, values = cast(nn.Conv2d, self.layer), self.input(values)
        if self.norm is None:
            found = convolve(layer, values, *self.rounded(layer.weight, layer.bias))
        elif self.training and not self.freeze:
            found = self._with_batch_statistics(layer, values, self.norm)
        else:
            found = convolve(layer, values, *self.rounded(*folded(layer, self.norm)))
        output: Tensor = self.output(self.rectify(found))
        return output

    def _with_batch_statistics(self, layer: nn.Conv2d, values: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        """Rounds the folded weights, takes the fold back, and lets the batch norm do its work."""
        factor = fold_factor(norm).detach()
        factor = torch.where(factor.abs() < SMALLEST_FACTOR, SMALLEST_FACTOR, factor)
        weight, limit = layer.weight * factor.view(-1, 1, 1, 1), self.rounding.weight_limit
        weight = rounded_weight(weight, limit, least_weight_step(weight, self.rounding)) / factor.view(-1, 1, 1, 1)
        return nn.BatchNorm2d.forward(norm, convolve(layer, values, weight, layer.bias))

    def converted(self, where: str) -> nn.Module:
        """The integer layer of the static ranges, batch norm folded."""
        layer = cast(nn.Conv2d, self.layer)
        found = (layer.weight, layer.bias) if self.norm is None else folded(layer, self.norm)
        weight, bias, smallest = self.on_device(*found)
        return IntegerConv(
            layer,
            weight,
            bias,
            self.rounding.weight_limit,
            smallest,
            input=self.integer_input(where),
            output=self.integer_output(where),
        )


def fold_factor(norm: nn.BatchNorm2d) -> Tensor:
    """gamma / sigma of the running statistics, (C,)."""
    factor = (cast(Tensor, norm.running_var) + norm.eps).rsqrt()
    return factor if norm.weight is None else factor * norm.weight


def folded(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weights and bias of the convolution that does what it and the batch norm do in evaluation."""
    factor, mean = fold_factor(norm), cast(Tensor, norm.running_mean)
    bias = -mean if layer.bias is None else layer.bias - mean
    bias = bias * factor if norm.bias is None else bias * factor + norm.bias
    return layer.weight * factor.view(-1, 1, 1, 1), bias


def integer_activation(rounded: Grid, where: str) -> IntegerActivation:
    """What rounds on the device.

    Raises:
        ExportError: if the range is not known, because the layer was not used in training.
    """
    step = rounded.step()
    if step is None:
        raise ExportError(
            f"layer '{where}' has no range for its activations: no training batch went through it. Train the phase "
            "that has the quantizer for at least one step, or leave the layer out with the quantizer's `exclude`."
        )
    return IntegerActivation(float(step.scale), int(step.zero), rounded.rounding)
