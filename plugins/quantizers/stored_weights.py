"""Weights of an ONNX graph in fewer bits, which layers read as float: int8 per output channel, or 4 or 8 bits in blocks.

Knows where each operator has its output channels; changes a graph in memory and decides nothing about which layers to shrink.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgefw.errors import MissingDependency
from edgefw.plugins.quantizers.onnx_graph import quiet

SMALLEST = 256
"""Numbers that a weight must have: below, its steps and its node take what its bits give."""


def weighted_products(model: onnx.ModelProto) -> list[str]:
    """Names of the MatMul nodes whose second factor is a constant matrix of at least `SMALLEST` numbers."""
    large = {
        entry.name for entry in model.graph.initializer if len(entry.dims) == 2 and np.prod(entry.dims) >= SMALLEST
    }
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in large]


def pack_matrices(model: onnx.ModelProto, names: Sequence[str], bits: int, block: int) -> onnx.ModelProto:
    """The graph with these MatMul nodes as MatMulNBits: affine, one step and zero point per block and output.

    Args:
        model: changed as well.
        names: of MatMul nodes with a constant second factor, from `weighted_products`.
        bits: 4 or 8.
        block: rows of the matrix that share a step.

    Raises:
        MissingDependency: if onnxruntime is too old to pack matrices.
    """
    if not names:
        return model
    try:
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    except ImportError as error:
        raise MissingDependency(
            "weight-only: packing needs a newer onnxruntime. Run: pip install -U onnxruntime"
        ) from error
    with quiet():
        quantizer = MatMulNBitsQuantizer(model, bits=bits, block_size=block, nodes_to_include=list(names))
        quantizer.process()
    packed: onnx.ModelProto = quantizer.model.model
    return packed


def shrink_weights(model: onnx.ModelProto, excluded: set[str]) -> list[str]:
    """Store weights in int8, in place, each behind a DequantizeLinear of its own name.

    Zero points are written out: where they are left out, ONNX Runtime 1.32 puts a single one beside the steps of all channels and fails.
    A weight that a node in `excluded` reads, or that two nodes read along different axes, stays as it is, and so do small ones.

    Returns:
        Names of the weights that were shrunk.
    """
    axes = dict(_channel_axes(model, excluded))
    stored = {entry.name: entry for entry in model.graph.initializer if entry.name in axes}
    nodes = []
    for name, entry in stored.items():
        values = numpy_helper.to_array(entry)
        numbers, scales = rounded(values, axes[name])
        parts = [f"{name}_int8", f"{name}_scale", f"{name}_zero"]
        model.graph.initializer.remove(entry)
        model.graph.initializer.extend(
            map(numpy_helper.from_array, (numbers, scales, np.zeros(len(scales), np.int8)), parts)
        )
        nodes.append(helper.make_node("DequantizeLinear", parts, [name], f"{name}_dequantize", axis=axes[name]))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    return list(stored)


def rounded(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 (-127 to 127) of a weight, and its float32 steps, one per index of `axis`."""
    others = tuple(dimension for dimension in range(values.ndim) if dimension != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.clip(np.rint(values / scales), -127, 127).astype(np.int8), scales.reshape(-1)


def _channel_axes(model: onnx.ModelProto, excluded: set[str]) -> Iterator[tuple[str, int]]:
    """(weight, the axis of its output channels), for weights that all readers agree on."""
    sizes = {entry.name: entry for entry in model.graph.initializer if entry.data_type == onnx.TensorProto.FLOAT}
    wanted: dict[str, set[int | None]] = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name in sizes:
                axis = _channel_axis(node) if position == 1 and node.name not in excluded else None
                wanted.setdefault(name, set()).add(axis)
    for name, axes in wanted.items():
        axis = axes.pop()
        if axis is not None and not axes and np.prod(sizes[name].dims) >= SMALLEST:
            yield name, axis


def _channel_axis(node: onnx.NodeProto) -> int | None:
    """The axis of a node's second input that counts its outputs; None where this file does not shrink it."""
    if node.op_type == "Gemm":
        return 0 if any(entry.name == "transB" and entry.i for entry in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op_type)
