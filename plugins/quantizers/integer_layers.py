"""Layers with int8 weights and fixed ranges, written so that ONNX gets QuantizeLinear and DequantizeLinear pairs.

The operators are PyTorch's `quantized_decomposed`, which the ONNX exporter translates one to one; weights are stored as
int8 and multiplied by their step at run time, so a file holds a quarter of the float bytes. Fewer than 8 bits use a part
of the int8 range: values are clipped first, and the file is as large as with 8. Knows nothing about training.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.ao.quantization.fx import _decomposed as _  # noqa: F401  registers torch.ops.quantized_decomposed

from edgefw.plugins.quantizers.convolution import convolve
from edgefw.plugins.quantizers.fake_quantise import Rounding, integer_weight


class IntegerActivation(nn.Module):
    """Quantise and dequantise with a fixed step.

    Whole numbers are unsigned. A grid around 0 is moved up by 128, which changes no value: onnxruntime on x86 has integer
    kernels for unsigned activations, and leaves a convolution in float whose signed result is read twice (SiLU).
    """

    def __init__(self, scale: float, zero: int, rounding: Rounding) -> None:
        super().__init__()
        shift = 0 if rounding.affine else 128
        self.scale, self.zero = scale, zero + shift
        self.lowest, self.highest = (limit + shift for limit in rounding.limits)
        self.dtype = torch.uint8
        self.clip = rounding.bits < 8

    def forward(self, values: Tensor) -> Tensor:
        """The values on their grid."""
        if self.clip:
            low, high = (self.lowest - self.zero) * self.scale, (self.highest - self.zero) * self.scale
            values = values.clamp(low, high)
        grid = (self.scale, self.zero, self.lowest, self.highest, self.dtype)
        whole = torch.ops.quantized_decomposed.quantize_per_tensor(values, *grid)
        return cast(Tensor, torch.ops.quantized_decomposed.dequantize_per_tensor(whole, *grid))


class IntegerWeight(nn.Module):
    """Int8 weights with a step per output channel, which lies along `axis`."""

    whole: Tensor
    scale: Tensor
    zero: Tensor

    def __init__(self, whole: Tensor, scale: Tensor, axis: int, limit: int) -> None:
        super().__init__()
        self.axis, self.limit = axis, limit
        self.register_buffer("whole", whole.contiguous())
        self.register_buffer("scale", scale)
        self.register_buffer("zero", torch.zeros(len(scale), dtype=torch.int64))

    def forward(self) -> Tensor:
        """The weights in float32."""
        return cast(
            Tensor,
            torch.ops.quantized_decomposed.dequantize_per_channel(
                self.whole, self.scale, self.zero, self.axis, -self.limit, self.limit, torch.int8
            ),
        )


class IntegerLinear(nn.Module):
    """A linear layer with int8 weights, stored (in, out): the order in which a matrix product reads them."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        limit: int,
        smallest: Tensor | float,
        *,
        input: nn.Module,
        output: nn.Module,
    ) -> None:
        super().__init__()
        whole, scale = integer_weight(weight, limit, smallest)
        self.weight = IntegerWeight(whole.T, scale, 1, limit)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
        self.input, self.output = input, output

    def forward(self, values: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        found = torch.matmul(self.input(values), self.weight())
        result: Tensor = self.output(found if self.bias is None else found + self.bias)
        return result


class IntegerConv(nn.Module):
    """A convolution with int8 weights (O, I, h, w).

    Args:
        layer: says stride, padding, dilation and groups; its own weights are not kept.
    """

    def __init__(
        self,
        layer: nn.Conv2d,
        weight: Tensor,
        bias: Tensor | None,
        limit: int,
        smallest: Tensor | float,
        *,
        input: nn.Module,
        output: nn.Module,
    ) -> None:
        super().__init__()
        self.weight = IntegerWeight(*integer_weight(weight, limit, smallest), 0, limit)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
        self.input, self.output = input, output
        self.shape = _emptied(layer)

    def forward(self, values: Tensor) -> Tensor:
        """(B, C, H, W) to (B, O, H', W')."""
        result: Tensor = self.output(convolve(self.shape, self.input(values), self.weight(), self.bias))
        return result


def _emptied(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer without its numbers."""
    memo = {id(parameter): nn.Parameter(torch.empty(0), requires_grad=False) for parameter in layer.parameters()}
    return copy.deepcopy(layer, memo)
