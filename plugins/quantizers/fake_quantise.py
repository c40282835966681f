"""Rounds tensors to integers and back while the network trains; the gradient passes straight through.

    s = range / levels,   q = clamp(round(x / s) + z, lowest, highest),   x' = s (q - z)
    dL/dx = dL/dx' where lowest <= round(x / s) + z <= highest, else 0

Weights have one step s per output channel, from the channel's largest absolute value, or one per layer, with z = 0. Activations have one
step per tensor: symmetric (z = 0), or affine. While the network trains, the range is that of the very tensor (dynamic)
and is remembered; in evaluation it is what was remembered (static). Biases have the step s_input s_weight. Source: Jacob
et al. 2018, arXiv:1712.05877, section 2.1, 2.4 and 3; Bengio et al. 2013, arXiv:1308.3432, for the gradient. PyTorch's own kernels do the arithmetic.
This file knows tensors; which of a network's tensors are rounded is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

SMALLEST_STEP = 1e-12
"""A tensor of zeros has a step too."""
LARGEST_BIAS = float(1 << 30)
"""A bias is an integer of 32 bits on the device; one bit is left for the sum."""


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How tensors are rounded.

    Attributes:
        bits: of activations, 2 to 8.
        weight_bits: of weights, 2 to 8.
        per_channel: whether each output channel's weights have a step of their own; otherwise a layer has one.
        affine: whether an activation's grid has a zero point; otherwise it is symmetric around 0.
        training: "dynamic" rounds with the range of the tensor at hand, "static" with the remembered one.
        static: how ranges are remembered: a moving average, or the widest of the last `batches` training batches.
        momentum: share of the moving average that is kept at each training batch.
        batches: how many batches `static: recent` looks back.
    """

    bits: int = 8
    weight_bits: int = 8
    per_channel: bool = True
    affine: bool = False
    training: Literal["dynamic", "static"] = "dynamic"
    static: Literal["moving-average", "recent"] = "moving-average"
    momentum: float = 0.95
    batches: int = 8

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest integer of an activation."""
        half = 1 << (self.bits - 1)
        return (0, 2 * half - 1) if self.affine else (-half, half - 1)

    @property
    def weight_limit(self) -> int:
        """Largest integer of a weight; the lowest is its negative."""
        return (1 << (self.weight_bits - 1)) - 1


class Step(NamedTuple):
    """The grid of an activation: `scale` () float32 and `zero` () int32."""

    scale: Tensor
    zero: Tensor


class Grid(Protocol):
    """What rounds an activation in training and knows the step of the device."""

    rounding: Rounding

    def step(self) -> Step | None:
        """The static grid, or None before any training batch."""
        ...


class RoundedActivation(nn.Module):
    """Fake quantisation of one activation; remembers its range.

    Args:
        rounding: bits, symmetry, and where the range comes from.
    """

    low: Tensor
    high: Tensor
    recent: Tensor
    turn: Tensor

    def __init__(self, rounding: Rounding) -> None:
        super().__init__()
        self.rounding = rounding
        if rounding.static == "recent":
            self.register_buffer("recent", torch.full((rounding.batches, 2), float("inf")))
            self.register_buffer("turn", torch.zeros((), dtype=torch.int64))
        else:
            self.register_buffer("low", torch.tensor(float("inf")))
            self.register_buffer("high", torch.tensor(float("inf")))

    def forward(self, values: Tensor) -> Tensor:
        """The values on their grid; in evaluation a tensor that was never seen in training uses its own range."""
        low, high = self._range(values)
        step = self._step(low, high)
        lowest, highest = self.rounding.limits
        rounded = torch.fake_quantize_per_tensor_affine(values.float(), step.scale, step.zero, lowest, highest)
        return rounded.to(values.dtype)

    def remembered(self) -> tuple[Tensor, Tensor] | None:
        """The static range, or None before any training batch."""
        if self.rounding.static == "recent":
            low, high = self._widest()
        else:
            low, high = self.low, self.high
        return (low, high) if bool(low.isfinite()) else None

    def step(self) -> Step | None:
        """The static grid, or None before any training batch."""
        found = self.remembered()
        return None if found is None else self._step(*found)

    def _range(self, values: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            found = self.remembered()
            if found is not None:
                return found
        low, high = torch.aminmax(values.detach().float())
        if not self.training:
            return low, high
        self._remember(low, high)
        if self.rounding.training == "dynamic":
            return low, high
        return self._widest() if self.rounding.static == "recent" else (self.low.clone(), self.high.clone())

    @torch.no_grad()
    def _remember(self, low: Tensor, high: Tensor) -> None:
        if self.rounding.static == "recent":
            self.recent.index_copy_(0, self.turn.remainder(len(self.recent)).view(1), torch.stack([low, high])[None])
            self.turn.add_(1)
            return
        new = self.low.isinf()
        for kept, seen in ((self.low, low), (self.high, high)):
            kept.copy_(torch.where(new, seen, kept.lerp(seen, 1.0 - self.rounding.momentum)))

    def _widest(self) -> tuple[Tensor, Tensor]:
        """Over the batches that are remembered; places that are still empty hold infinity."""
        empty = self.recent[:, 0].isinf()
        high = self.recent[:, 1].masked_fill(empty, float("-inf"))
        return self.recent[:, 0].min(), high.max()

    def _step(self, low: Tensor, high: Tensor) -> Step:
        lowest, highest = self.rounding.limits
        if not self.rounding.affine:
            scale = torch.maximum(-low, high).clamp_min(0.0) / highest
            return Step(scale.clamp_min(SMALLEST_STEP), torch.zeros((), dtype=torch.int32, device=low.device))
        low, high = low.clamp_max(0.0), high.clamp_min(0.0)
        scale = ((high - low) / (highest - lowest)).clamp_min(SMALLEST_STEP)
        return Step(scale, (-low / scale).round().clamp(lowest, highest).to(torch.int32))


class RoundedBefore(nn.Module):
    """An input that the layer before has rounded already: rounding it again, on a grid of its own, is what no device does.

    Args:
        source: what rounded it.
    """

    def __init__(self, source: Grid) -> None:
        super().__init__()
        self.rounding = source.rounding
        self._source = [source]  # in a list: it is a part of the other layer

    def forward(self, values: Tensor) -> Tensor:
        """The values as they are."""
        return values

    def step(self) -> Step | None:
        """The grid that they are on."""
        return self._source[0].step()


def weight_scale(weight: Tensor, limit: int, smallest: Tensor | float = SMALLEST_STEP) -> Tensor:
    """One step per output channel, (O,) of weights (O, ...): the largest absolute value over `limit`."""
    largest = weight.detach().float().flatten(1).abs().amax(dim=1) / limit
    return torch.maximum(largest, torch.as_tensor(smallest, dtype=largest.dtype, device=largest.device))


def least_weight_step(weight: Tensor, rounding: Rounding, smallest: Tensor | float = SMALLEST_STEP) -> Tensor | float:
    """What `smallest` of the functions below has to be: with one step per layer, that of its widest channel, for all."""
    if rounding.per_channel:
        return smallest
    return weight_scale(weight, rounding.weight_limit, smallest).amax()


def rounded_weight(weight: Tensor, limit: int, smallest: Tensor | float = SMALLEST_STEP) -> Tensor:
    """Weights (O, ...) on the grid of their channel, float32, differentiable; never clipped."""
    scale = weight_scale(weight, limit, smallest)
    zero = torch.zeros(len(scale), dtype=torch.int32, device=scale.device)
    return torch.fake_quantize_per_channel_affine(weight.float(), scale, zero, 0, -limit, limit)


def integer_weight(weight: Tensor, limit: int, smallest: Tensor | float = SMALLEST_STEP) -> tuple[Tensor, Tensor]:
    """(O, ...) int8 and the steps (O,): their product is what `rounded_weight` gives."""
    scale = weight_scale(weight, limit, smallest)
    shape = (-1, *(1 for _ in weight.shape[1:]))
    whole = (weight.detach().float() * (1.0 / scale).view(shape)).round().clamp(-limit, limit)
    return whole.to(torch.int8), scale


def smallest_weight_step(bias: Tensor, input_step: Tensor) -> Tensor:
    """The least step of each channel's weights (O,) with which its bias still is a 32-bit number of steps."""
    return (bias.detach().abs().float() / (input_step * LARGEST_BIAS)).clamp_min(SMALLEST_STEP)


def rounded_bias(bias: Tensor, input_step: Tensor, weight_step: Tensor) -> Tensor:
    """A bias (O,) on the grid of the products that it is added to, s_input s_weight, as integer kernels hold it."""
    step = input_step * weight_step
    return bias + ((bias / step).round() * step - bias).detach()
