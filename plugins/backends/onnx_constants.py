"""One zero point for each reader: what ONNX Runtime needs to exchange int8 weights for its exact kernels.

Exporters write equal constants once. Where two layers read the same int8 zero point, ONNX Runtime (1.32) cannot load the graph with exact products,
see `edgefw.runtime.integer_products`. This file knows ONNX alone.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx


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
