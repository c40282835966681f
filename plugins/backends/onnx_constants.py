"""Constants of an ONNX graph: what is stored, and one zero point for each reader.

ONNX Runtime exchanges int8 weights for its exact kernels. Exporters write equal constants once, and where two layers read the same int8 zero point, ONNX
Runtime (1.32) cannot load the graph with exact products, see `edgefw.runtime.integer_products`. This file knows ONNX alone.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper


def give_own_zero_points(file: Path) -> int:
    """Rewrite a file so that no two nodes read the same int8 scalar or vector; how many constants were added."""
    model = onnx.load(file)
    small = {entry.name: entry for entry in model.graph.initializer if _is_zero_point(entry)}
    seen: Counter[str] = Counter()
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name not in small:
                continue
            if seen[name]:
                own = onnx.TensorProto()
                own.CopyFrom(small[name])
                own.name = node.input[place] = f"{name}_of_{seen[name]}"
                model.graph.initializer.append(own)
            seen[name] += 1
    added = sum(count - 1 for count in seen.values())
    if added:
        onnx.save(model, file)
    return added


def _is_zero_point(entry: onnx.TensorProto) -> bool:
    return entry.data_type == onnx.TensorProto.INT8 and len(entry.dims) < 2


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Stored tensors by name."""
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def constant_layers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """What nodes called Constant give, by the name of their output."""
    return {
        node.output[0]: numpy_helper.to_array(own.t)
        for node in model.graph.node
        if node.op_type == "Constant"
        for own in node.attribute
        if own.name == "value"
    }
