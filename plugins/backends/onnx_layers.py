"""The output of every layer of an ONNX file, from ONNX Runtime: all float tensors of the graph made outputs, in memory.

Optimisations are off, so that each node computes what the file says. Where a quantizer wrapped a tensor into a pair of
QuantizeLinear and DequantizeLinear, what the pair gives stands for the tensor that went in; int8 weights are seen through
the layer that uses them. The file on disk stays as it is. It compares nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgefw.contracts.backend import LayerOutput
from edgefw.errors import ExportError


def layer_outputs(file: Path, feeds: Mapping[str, np.ndarray]) -> list[LayerOutput]:
    """The inputs, then every node's first output, in the order of the graph.

    Raises:
        ExportError: if the file cannot be read, or does not run.
    """
    try:
        model = onnx.load(file)
        named = [node for node in model.graph.node if node.output and node.op_type != "QuantizeLinear"]
        given = {output.name for output in model.graph.output}
        wanted = [node.output[0] for node in named]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in given)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        values = dict(zip(wanted, session.run(wanted, dict(feeds)), strict=True))
    except Exception as error:  # onnx and onnxruntime raise a dozen unrelated types
        raise ExportError(f"{file}: its layers cannot be looked at ({str(error).splitlines()[0]})") from error
    count = len(next(iter(feeds.values())))
    shown = [
        LayerOutput(layer=name, operator="Input", tensor=name, stands_for=name, inputs=(), values=own)
        for name, own in feeds.items()
    ]
    return shown + [
        layer for node in named if (layer := _layer(model, node, values[node.output[0]], count)) is not None
    ]


def _layer(model: onnx.ModelProto, node: onnx.NodeProto, values: np.ndarray, count: int) -> LayerOutput | None:
    """The node as a layer; None for shapes, constants and weights."""
    if values.dtype != np.float32 or values.ndim < 2 or len(values) != count:
        return None
    inputs, stands_for = tuple(node.input), node.output[0]
    if node.op_type == "DequantizeLinear":
        writer = next((own for own in model.graph.node if own.output[0] == node.input[0]), None)
        if writer is None or writer.op_type != "QuantizeLinear":
            return None
        inputs, stands_for = (writer.input[0],), writer.input[0]
    return LayerOutput(
        layer=node.name or node.output[0],
        operator=node.op_type,
        tensor=node.output[0],
        stands_for=stands_for,
        inputs=inputs,
        values=values,
    )
