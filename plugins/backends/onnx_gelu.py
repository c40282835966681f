"""GELU written in the order of factors in which ONNX Runtime knows it: x · (1 + erf(x / √2)) · ½.

Below operator set 20 ONNX has no GELU, and torch's exporter writes x · (½ · (1 + erf(x / √2))). ONNX Runtime (1.32) takes five passes over the tensor for
that, and one for the other order, which it makes one node of when it opens the file. This file knows ONNX alone.

Source: ONNX Runtime, core/optimizer/gelu_fusion.cc, whose two patterns multiply by ½ first or last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnx

from edgefw.plugins.backends.onnx_constants import constant_layers, constants

_CHAIN = ("Mul", "Add", "Erf", "Div")
"""From the product with ½ towards x."""


def multiply_by_half_last(file: Path) -> int:
    """Rewrite a file so that each GELU's ½ is its last factor; how many were changed."""
    model = onnx.load(file)
    readers = Counter(name for node in model.graph.node for name in node.input)
    readers.update(entry.name for entry in model.graph.output)
    writers = {name: node for node in model.graph.node for name in node.output}
    stored = {name for name, values in {**constants(model), **constant_layers(model)}.items() if values.size == 1}
    changed = sum(_reordered(node, writers, readers, stored) for node in model.graph.node)
    if changed:
        onnx.save(model, file)
    return changed


def _reordered(
    last: onnx.NodeProto, writers: Mapping[str, onnx.NodeProto], readers: Counter[str], stored: set[str]
) -> bool:
    """Exchange x and ½ where `last` is x · (½ · (1 + erf(x / c)))."""
    if last.op_type != "Mul":
        return False
    for place, name in enumerate(last.input):
        x = last.input[1 - place]
        half = _half(name, x, writers, stored) if readers[name] == 1 else None
        if half is not None:
            first = writers[name]
            first.input[half], last.input[1 - place] = x, first.input[half]
            return True
    return False


def _half(name: str, x: str, writers: Mapping[str, onnx.NodeProto], stored: set[str]) -> int | None:
    """Which input of the node behind `name` is the constant, if what it multiplies is a constant + erf(x / constant)."""
    place = None
    for operator in _CHAIN:
        node = writers.get(name)
        if node is None or node.op_type != operator:
            return None
        inner = [at for at, entry in enumerate(node.input) if entry not in stored]
        if len(inner) != 1:
            return None
        place = 1 - inner[0] if place is None else place
        name = node.input[inner[0]]
    return place if name == x else None
