"""Relu and Clip behind a layer that rounds its output: the grid of the clamped values is enough for both.

    clamp(round(x; S, Z)) = round(clamp(x); S, Z)    where the grid (S, Z) ends where the clamp ends

What a layer gives before the clamp may be many times as wide as what is left behind it, and a grid for that width wastes its steps on
numbers that the clamp cuts off. So the layer is rounded behind its clamp, once, and the clamp stays in the file: whoever leaves the rounding out has the float
network, and ONNX Runtime takes the clamp out when it opens the file. Where the grid reaches beyond the clamp (a Relu on a grid around 0, a Clip at 1)
that would leave the layer in float; there it is rounded before the clamp too, on the same grid.
Source: Jacob et al. 2018, arXiv:1712.05877, section 2.4 (fused activation functions). Knows the ONNX format; measures no range. HardSwish, SiLU and other curves are no clamps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import onnx
from onnx import numpy_helper

from edgefw.plugins.backends.onnx_clamps import CLAMPS, is_idle

Readers = Mapping[str, list[onnx.NodeProto]]


def clamped(model: onnx.ModelProto) -> dict[str, str]:
    """Tensor -> its clamped values, for tensors that nothing but one Relu or Clip reads; those at the end of the graph first."""
    alone = _read_alone(model)
    return {node.input[0]: node.output[0] for node in reversed(model.graph.node) if _is_clamp_of(node, alone)}


def shared(model: onnx.ModelProto) -> list[str]:
    """Names of the Relu and Clip nodes whose input is wanted elsewhere too: it keeps a grid of its own."""
    alone = _read_alone(model)
    return [node.name for node in model.graph.node if node.op_type in CLAMPS and not _is_clamp_of(node, alone)]


def round_behind(model: onnx.ModelProto) -> None:
    """Take away each QuantizeLinear and DequantizeLinear before an idle clamp that has the same grid behind it."""
    readers, alone = _readers(model), _read_alone(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {entry.name: entry for entry in model.graph.initializer}
    gone: set[str] = set()
    for clamp in model.graph.node:
        pair = _pair_before(clamp, makers, alone)
        behind = readers[clamp.output[0]]
        if pair is None or len(behind) != 1 or behind[0].op_type != "QuantizeLinear":
            continue
        if _grid(pair[0], constants) == _grid(behind[0], constants) and is_idle(clamp, behind[0], constants):
            clamp.input[0] = pair[0].input[0]
            gone |= {node.output[0] for node in pair}
    _remove(model, gone)


def _readers(model: onnx.ModelProto) -> Readers:
    found: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            found[name].append(node)
    return found


def _read_alone(model: onnx.ModelProto) -> set[str]:
    """Tensors that one node reads, and nobody outside."""
    outside = {entry.name for entry in model.graph.output}
    return {name for name, found in _readers(model).items() if len(found) == 1 and name not in outside}


def _is_clamp_of(node: onnx.NodeProto, alone: set[str]) -> bool:
    return node.op_type in CLAMPS and node.input[0] in alone


def _pair_before(
    clamp: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], alone: set[str]
) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """The rounding that serves a clamp and nothing else."""
    back = makers.get(clamp.input[0]) if _is_clamp_of(clamp, alone) else None
    if back is None or back.op_type != "DequantizeLinear" or back.input[0] not in alone:
        return None
    rounding = makers.get(back.input[0])
    return (rounding, back) if rounding is not None and rounding.op_type == "QuantizeLinear" else None


def _grid(rounding: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> list[object]:
    """Scale and zero point with their types, or their names where they are computed."""
    stored = [constants.get(name, name) for name in rounding.input[1:]]
    return [own if isinstance(own, str) else _number(own) for own in stored]


def _number(entry: onnx.TensorProto) -> tuple[object, object]:
    values = numpy_helper.to_array(entry)
    return values.dtype, values.tolist()


def _remove(model: onnx.ModelProto, gone: set[str]) -> None:
    """Nodes by what they give, and the constants that only they read."""
    read_before = {name for node in model.graph.node for name in node.input}
    for place in reversed(range(len(model.graph.node))):
        if model.graph.node[place].output[0] in gone:
            del model.graph.node[place]
    unread = read_before - {name for node in model.graph.node for name in node.input}
    for place in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[place].name in unread:
            del model.graph.initializer[place]
