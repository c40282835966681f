"""Biases of an int8 graph: stored in int32, on the grid of the products that they are added to.

ONNX Runtime rounds the bias of a convolution so when it writes an optimised file, and that of a Gemm whose result is rounded.
A Gemm with a float result (the head of a student that trained with rounding) keeps a float bias, and with it float products. Here its bias becomes
int32 where training has put it on that grid, so nothing is lost: s = s_input s_weight, and s round(bias / s) is the bias.
This file knows ONNX alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgefw.plugins.backends.onnx_constants import constants

_OFF_GRID = 0.01
"""Largest distance of a bias from its grid, in steps; what float32 loses of a large one comes on top."""
_PRECISION = 2.0**-22
_LARGEST = 2.0**31 - 1


def round_biases(file: Path) -> int:
    """Rewrite a file so that the float biases of its int8 Gemms that are on their grid are int32; how many there were."""
    model = onnx.load(file)
    stored, makers = constants(model), {name: node for node in model.graph.node for name in node.output}
    changed = 0
    for place, node in reversed(list(enumerate(model.graph.node))):
        step = _step(node, stored, makers) if node.op_type == "Gemm" else None
        whole = None if step is None else _whole(stored.get(node.input[2]), step)
        if step is None or whole is None:
            continue
        names = [f"{node.output[0]}_bias_{part}" for part in ("whole", "step", "zero", "float")]
        arrays = (whole, step, np.zeros(step.shape, np.int32))
        model.graph.initializer.extend(map(numpy_helper.from_array, arrays, names[:3]))
        axis = 0 if step.ndim else None
        model.graph.node.insert(place, helper.make_node("DequantizeLinear", names[:3], names[3:], names[3], axis=axis))
        node.input[2] = names[3]
        changed += 1
    if changed:
        _drop_unread(model)
        onnx.save(model, file)
    return changed


def _step(
    node: onnx.NodeProto, stored: Mapping[str, np.ndarray], makers: Mapping[str, onnx.NodeProto]
) -> np.ndarray | None:
    """() or (O,) float32: the step of the products of a Gemm with two rounded inputs and a bias; None for others."""
    own = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    if len(node.input) < 3 or own.get("alpha", 1.0) != 1.0 or own.get("beta", 1.0) != 1.0:
        return None
    given, weight = (_steps(makers.get(name), stored) for name in node.input[:2])
    if given is None or given.ndim or weight is None:
        return None
    across = 0 if own.get("transB") else 1
    if weight.ndim and _axis(makers[node.input[1]]) != across:
        return None
    step: np.ndarray = np.asarray(given * weight, np.float32)
    return step


def _steps(maker: onnx.NodeProto | None, stored: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """() of a tensor with one step, (O,) of one with a step per row or column; None for what is not rounded."""
    if maker is None or maker.op_type != "DequantizeLinear":
        return None
    found = stored.get(maker.input[1])
    if found is None or found.ndim > 1:
        return None
    return found.reshape(()) if found.size == 1 else found


def _axis(maker: onnx.NodeProto) -> int:
    """Along which a matrix's steps lie."""
    return next((int(entry.i) % 2 for entry in maker.attribute if entry.name == "axis"), 1)


def _whole(bias: np.ndarray | None, step: np.ndarray) -> np.ndarray | None:
    """(O,) int32 of a float bias that is on its grid."""
    if bias is None or bias.dtype != np.float32 or bias.ndim != 1 or (step.ndim and step.shape != bias.shape):
        return None
    exact = bias.astype(np.float64) / step.astype(np.float64)
    whole = np.rint(exact)
    near = np.abs(exact - whole) <= _OFF_GRID + _PRECISION * np.abs(whole)
    return whole.astype(np.int32) if near.all() and np.abs(whole).max(initial=0.0) <= _LARGEST else None


def _drop_unread(model: onnx.ModelProto) -> None:
    read = {name for node in model.graph.node for name in node.input} | {entry.name for entry in model.graph.output}
    for entry in [own for own in model.graph.initializer if own.name not in read]:
        model.graph.initializer.remove(entry)
