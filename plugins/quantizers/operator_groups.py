"""Nodes of an ONNX graph that cost alike: one operator, one window, one size of image or matrix.

A search over single nodes would time hundreds of files; nodes of one window at one size have the same kernels, whatever their
channels, which the label tells. It reads a graph and decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx

from edgefw.plugins.backends.onnx_work import Shape, shapes, work


@dataclass(frozen=True, kw_only=True)
class Group:
    """Nodes by name, what they have in common in words, and their products for one image together; None where the graph does not tell."""

    label: str
    nodes: tuple[str, ...]
    macs: int | None


def operator_groups(model: onnx.ModelProto, names: Collection[str]) -> list[Group]:
    """Groups of the named nodes, those with the most products first; labels are unique."""
    known, macs = shapes(model), _products(model)
    found: dict[str, list[onnx.NodeProto]] = {}
    wanted = set(names)
    for node in model.graph.node:
        if node.name in wanted:
            found.setdefault(_label(node, known), []).append(node)
    made = [
        _group(f"{label}{_channels(nodes, known)}", [node.name for node in nodes], macs)
        for label, nodes in found.items()
    ]
    return sorted(made, key=lambda group: (-(group.macs or 0), group.label))


def left_in_float(model: onnx.ModelProto, names: Collection[str], reasons: Mapping[str, str]) -> list[Group]:
    """The nodes with products that are not among the named ones, a group for each reason; the most products first.

    Args:
        model: the graph.
        names: nodes that may become int8.
        reasons: why others may not, by name; "other operators" is that of the rest.
    """
    macs, found = _products(model), dict[str, list[str]]()
    multiplying = [node.name for node in model.graph.node] if macs is None else list(macs)
    for name in multiplying:
        if name not in names and (macs is not None or name in reasons):
            found.setdefault(reasons.get(name, "other operators"), []).append(name)
    return sorted((_group(*item, macs) for item in found.items()), key=lambda group: -(group.macs or 0))


def _products(model: onnx.ModelProto) -> dict[str, int] | None:
    nodes = work(model)
    return None if nodes is None else {node.name: node.macs for node in nodes}


def _group(label: str, nodes: Sequence[str], macs: Mapping[str, int] | None) -> Group:
    total = None if macs is None else sum(macs.get(name, 0) for name in nodes)
    return Group(label=label, nodes=tuple(nodes), macs=total)


def _channels(nodes: Sequence[onnx.NodeProto], known: Mapping[str, Shape]) -> str:
    """ ", 64 channels" or ", 16 to 64 channels" of convolutions' outputs; nothing of other operators."""
    given = [known.get(node.output[0], ()) for node in nodes if node.op_type in ("Conv", "ConvTranspose")]
    counts = sorted({shape[1] for shape in given if len(shape) > 1})
    return f", {' to '.join(map(str, counts[:1] + counts[1:][-1:]))} channels" if counts else ""


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
