"""Relu and Clip behind a layer that rounds its output: the grid of the clamped values is enough for both.

    clamp(round(x; S, Z)) = round(clamp(x); S, Z)    where the grid (S, Z) ends where the clamp ends

What a layer gives before the clamp may be many times as wide as what is left behind it, and a grid for that width wastes its steps on
numbers that the clamp cuts off. Rounding saturates at the ends of its grid, so a grid of the clamped range loses nothing; where it begins and
ends at the clamp's own bounds, the clamp has nothing left to do. Source: Jacob et al. 2018, arXiv:1712.05877, section 2.4 (fused activation functions).
Knows the ONNX format; measures no range. HardSwish, SiLU and other curves are no clamps.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx

from edgefw.plugins.backends.onnx_constants import constant_layers, constants

CLAMPS = ("Relu", "Clip")


def clamped(model: onnx.ModelProto) -> dict[str, str]:
    """Tensor -> its clamped values, for tensors that nothing but one Relu or Clip reads."""
    readers = Counter(name for node in model.graph.node for name in node.input)
    outputs = {entry.name for entry in model.graph.output}
    return {
        node.input[0]: node.output[0]
        for node in model.graph.node
        if node.op_type in CLAMPS and readers[node.input[0]] == 1 and node.input[0] not in outputs
    }


def bounds_beside_zero(model: onnx.ModelProto) -> list[str]:
    """Names of the Clip nodes that rounding cannot replace: every grid holds 0, and these cut 0 off, or do not say."""
    known = {**constants(model), **constant_layers(model)}
    return [node.name for node in model.graph.node if node.op_type == "Clip" and not _holds_zero(node, known)]


def _holds_zero(node: onnx.NodeProto, known: dict[str, np.ndarray]) -> bool:
    low, high = ([*node.input, "", ""][place] for place in (1, 2))
    if any(name and name not in known for name in (low, high)):
        return False
    return (not low or float(known[low]) <= 0) and (not high or float(known[high]) >= 0)
