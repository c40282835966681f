"""A convolution layer with other weights than its own: what rounded and integer layers share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def convolve(layer: nn.Conv2d, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer's convolution with other weights; paddings that a subclass computes are its own."""
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
        return functional.conv2d(values, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    found: Tensor = torch.func.functional_call(layer, {"weight": weight}, (values,))
    own = 0.0 if layer.bias is None else layer.bias.view(-1, 1, 1)
    return found - own + (0.0 if bias is None else bias.view(-1, 1, 1))
