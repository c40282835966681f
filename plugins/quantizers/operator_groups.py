"""Nodes of an ONNX graph that cost alike: one operator, one window, one size of image or matrix.

A search over single nodes would time hundreds of files; nodes of one shape are as fast as each other in float and in int8. It
reads a graph and decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx

from edgefw.plugins.backends.onnx_work import Shape, shapes, work


@dataclass(frozen=True, kw_only=True)
class Group:
    """Nodes by name, what they have in common in words, and their products for one image together."""

    label: str
    nodes: tuple[str, ...]
    macs: int


def operator_groups(model: onnx.ModelProto, names: Collection[str]) -> list[Group]:
    """Groups of the named nodes, those with the most products first; labels are unique."""
    known = shapes(model)
    macs = {node.name: node.macs for node in work(model) or []}
    found: dict[str, list[str]] = {}
    wanted = set(names)
    for node in model.graph.node:
        if node.name in wanted:
            found.setdefault(_label(node, known), []).append(node.name)
    made = [
        Group(label=label, nodes=tuple(nodes), macs=sum(macs.get(name, 0) for name in nodes))
        for label, nodes in found.items()
    ]
    return sorted(made, key=lambda group: (-group.macs, group.label))


def _label(node: onnx.NodeProto, known: Mapping[str, Shape]) -> str:
    """ "Conv 3x3 depthwise at 56x56", "MatMul 384x1152 on 197", "Gemm 1280x512", "Add at 7x7"."""
    shape = known.get(node.output[0])
    if node.op_type in ("Conv", "ConvTranspose"):
        kernel = known.get(node.input[1], ())
        window = "x".join(map(str, kernel[2:]))
        return " ".join(part for part in (node.op_type, window, _grouping(node, kernel), _place(shape)) if part)
    if node.op_type in ("Gemm", "MatMul"):
        right = known.get(node.input[1], ())
        rows = f"on {shape[-2]}" if shape and len(shape) > 2 else ""
        turned = any(entry.name == "transB" and entry.i for entry in node.attribute)
        size = "x".join(map(str, right[:-3:-1] if turned else right[-2:]))
        return " ".join(part for part in (node.op_type, size, rows) if part)
    return " ".join(part for part in (node.op_type, _place(shape)) if part)


def _grouping(node: onnx.NodeProto, kernel: Shape) -> str:
    groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
    if groups == 1:
        return ""
    return "depthwise" if kernel and kernel[1] == 1 else f"in {groups} groups"


def _place(shape: Shape | None) -> str:
    return "at " + "x".join(map(str, shape[2:])) if shape and len(shape) > 2 else ""
