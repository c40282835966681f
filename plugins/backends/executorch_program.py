"""From a torch network to a checked ExecuTorch program, with everything that XNNPACK knows handed to XNNPACK.

Knows torch and executorch's exporter; how a file is opened, the backend `executorch` says.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from torch import nn

from edgefw.contracts.backend import Artefact, CompileRequest, Runner
from edgefw.errors import BundleError, ExportError
from edgefw.plugins.backends.capture import captured_single, quiet
from edgefw.plugins.backends.executorch import FILE, INPUTS
from edgefw.plugins.backends.onnx_export import allowed, checked, first_line, reference
from edgefw.plugins.backends.reparameterise import Notes, reparameterised

_ELSEWHERE = "Use the backend onnxruntime or openvino for this student."
_DELEGATE = "executorch_call_delegate"


def compile_program(request: CompileRequest, tolerance: float, runner: Callable[[Path], Runner]) -> Artefact:
    """Write the program, open it with `runner`, and compare.

    Raises:
        ExportError: if the network cannot be captured or lowered, or the program is not the network.
    """
    network, notes = _prepared(request)
    target = request.folder / FILE
    facts = _write(network, request, target)
    expected = reference(network, request.examples)
    limit = allowed(network, request, expected, tolerance)
    try:
        checks = checked(runner(target), request.examples, expected, limit)
    except (ExportError, BundleError) as error:
        target.unlink()
        raise ExportError(f"backend 'executorch': {error} {_ELSEWHERE}") from error
    warnings = notes.warnings
    if outside := facts["outside_xnnpack"]:
        warnings += (f"runs outside XNNPACK, in ExecuTorch's own kernels: {_counts(outside)}.",)
    details = {"check": checks, **facts, "executorch": version("executorch"), **notes.details}
    return Artefact(file=target, level="compiled", details=details, warnings=warnings)


def _prepared(request: CompileRequest) -> tuple[nn.Module, Notes]:
    """The network for inference; what a quantizer of programs made is left as it is.

    Raises:
        ExportError: if it was trained to round, which ExecuTorch has no layers for.
    """
    if request.level == "program":
        return request.network, Notes()
    if request.quantised:
        raise ExportError(
            f"backend 'executorch': takes float networks, and this one was trained to round. {_ELSEWHERE} "
            "For int8 in ExecuTorch add the quantizer int8-pt2e to export."
        )
    return reparameterised(request.network, request.examples)


def _write(network: nn.Module, request: CompileRequest, target: Path) -> dict[str, Any]:
    """Write the file; how much of the graph XNNPACK took."""
    try:
        with quiet(), torch.no_grad():
            edge = to_edge_transform_and_lower(
                captured_single(network, request.examples),
                partitioner=[XnnpackPartitioner()],
                constant_methods={INPUTS: "\n".join(request.examples)},
            )
            facts = _facts(edge.exported_program().graph_module)  # the next step rewrites the graph
            target.write_bytes(edge.to_executorch().buffer)
    except Exception as error:  # capture and lowering raise whatever they meet
        target.unlink(missing_ok=True)
        raise ExportError(
            f"backend 'executorch': the network cannot be compiled ({first_line(error)}). {_ELSEWHERE}"
        ) from error
    return facts


def _facts(graph: torch.fx.GraphModule) -> dict[str, Any]:
    """Parts of the graph in XNNPACK, and the operators outside it that give more than one number."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_function" and node.target is not operator.getitem]
    names = {node: str(getattr(node.target, "__name__", node.target)) for node in nodes}
    parts = sum(_DELEGATE in name for name in names.values())
    outside = Counter(name for node, name in names.items() if _DELEGATE not in name and not _is_number(node))
    return {"batch": 1, "xnnpack_parts": parts, "outside_xnnpack": dict(sorted(outside.items()))}


def _is_number(node: torch.fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.numel() == 1


def _counts(names: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in names.items())
