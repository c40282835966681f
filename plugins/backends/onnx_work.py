"""How many multiply-accumulates an ONNX graph does for one image, node by node, and which of them in int8.

Convolutions, Gemm and MatMul are counted, and their QLinear and Integer kin; what lies between them (norms, softmax, activation
functions) has no products to speak of. A float operator counts as int8 where ONNX Runtime's CPU kernels take it so (`onnx_rounding.py`).
It reads the graph; it runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx

from edgefw.plugins.backends.onnx_rounding import Rounding

Shape = tuple[int, ...]
_CONVOLUTIONS = {"Conv": (0, 1), "QLinearConv": (0, 3), "ConvInteger": (0, 1)}
"""Operator -> places of its image and its kernel."""
_MATRICES = {
    "Gemm": (0, 1), "QGemm": (0, 3), "MatMul": (0, 1), "QLinearMatMul": (0, 3), "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1), "DynamicQuantizeMatMul": (0, 1),
}  # fmt: skip
_FLOAT = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, kw_only=True)
class NodeWork:
    """One node's products for one image; `is_int8` where the processor adds them as integers."""

    name: str
    operator: str
    macs: int
    is_int8: bool


def int8_share(file: Path) -> float | None:
    """Fraction of an ONNX file's multiply-accumulates that run in int8; None where shapes cannot be known.

    Raises:
        OSError: if the file cannot be read.
    """
    nodes = work(onnx.load(file))
    if nodes is None:
        return None
    total = sum(node.macs for node in nodes)
    return sum(node.macs for node in nodes if node.is_int8) / total if total else 0.0


def work(model: onnx.ModelProto) -> list[NodeWork] | None:
    """Every node of the main graph that multiplies, in order; None where a shape is unknown."""
    known, rounding = shapes(model), Rounding(model)
    found = []
    for node in model.graph.node:
        try:
            macs = _macs(node, known)
        except KeyError:
            return None
        if macs is not None:
            is_int8 = node.op_type not in _FLOAT or rounding.surrounds(node)
            found.append(NodeWork(name=node.name, operator=node.op_type, macs=macs, is_int8=is_int8))
    return found


def shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Tensor name -> shape for one image, of the tensors whose shape ONNX can infer."""
    single = onnx.ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]
    for entry in (*single.graph.input, *single.graph.output):
        for place, dim in enumerate(entry.type.tensor_type.shape.dim):
            if place == 0 and not dim.HasField("dim_value"):
                dim.dim_value = 1
    try:
        single = onnx.shape_inference.infer_shapes(single, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return {}
    graph = single.graph
    found = {entry.name: tuple(entry.dims) for entry in graph.initializer}
    for entry in (*graph.input, *graph.value_info, *graph.output):
        dims = entry.type.tensor_type.shape.dim
        if entry.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            found[entry.name] = tuple(dim.dim_value for dim in dims)
    return found


def _macs(node: onnx.NodeProto, known: dict[str, Shape]) -> int | None:
    """Products of one node; None if it has none to count. Raises KeyError where a shape is unknown."""
    if node.op_type in _CONVOLUTIONS:
        kernel = known[node.input[_CONVOLUTIONS[node.op_type][1]]]  # (C out, C in / groups, *window)
        return prod(known[node.output[0]]) * prod(kernel[1:])
    if node.op_type == "ConvTranspose":
        return prod(known[node.input[0]]) * prod(known[node.input[1]][1:])  # kernel (C in, C out / groups, *window)
    if node.op_type not in _MATRICES:
        return None
    left, right = (known[node.input[place]] for place in _MATRICES[node.op_type])
    if node.op_type in ("Gemm", "QGemm"):
        turned = {entry.name: entry.i for entry in node.attribute}
        rows, inner = left[::-1] if turned.get("transA") else left
        return rows * inner * right[0 if turned.get("transB") else 1]
    return prod(known[node.output[0]]) * left[-1]
