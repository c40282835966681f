"""What a quantizer must know about an ONNX graph: where its weights sit, and a clean file to start from.

Knows the ONNX format and onnxruntime's pre-processing; decides nothing about precision.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import quant_pre_process
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

from edgefw.errors import ExportError

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
MATRICES = frozenset({"MatMul", "Gemm"})


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """Counts of a graph: `nodes` per operator, constant `weights` (numbers) per operator that reads them."""

    nodes: Counter[str]
    weights: Counter[str]

    def share(self, operators: frozenset[str]) -> float:
        """Fraction of the weights of convolutions and matrices that these operators read; 0 without weights."""
        total = sum(self.weights[name] for name in CONVOLUTIONS | MATRICES)
        return sum(self.weights[name] for name in operators) / total if total else 0.0


def facts(model: onnx.ModelProto) -> GraphFacts:
    """Count nodes and weights of the main graph."""
    sizes = {entry.name: int(np.prod(entry.dims)) for entry in model.graph.initializer}
    nodes: Counter[str] = Counter(node.op_type for node in model.graph.node)
    weights: Counter[str] = Counter()
    for node in model.graph.node:
        weights[node.op_type] += sum(sizes.get(name, 0) for name in node.input)
    return GraphFacts(nodes=nodes, weights=weights)


def preprocessed(source: Path, target: Path) -> onnx.ModelProto:
    """Shapes inferred, constants folded, every node named: what a quantizer starts from; writes `target`.

    Raises:
        ExportError: if the file cannot be read.
    """
    try:
        with quiet():
            try:
                quant_pre_process(str(source), str(target), auto_merge=True)
            except Exception:  # noqa: BLE001 - symbolic shapes fail on some graphs; ONNX shape inference is then enough
                quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
        model = onnx.load(target)
        if name_nodes(model):
            onnx.save(model, target)
        return model
    except Exception as error:
        raise ExportError(f"{source}: onnxruntime cannot prepare it for quantisation ({error}).") from error


def loaded(file: Path) -> onnx.ModelProto:
    """The model of a file, as it is.

    Raises:
        ExportError: if the file cannot be read.
    """
    try:
        return onnx.load(file)
    except Exception as error:
        raise ExportError(f"{file}: it cannot be read as ONNX ({error}).") from error


def with_shapes(file: Path) -> onnx.ModelProto:
    """The model as onnxruntime's quantizers want it: with the shape of every tensor that can be known."""
    model: onnx.ModelProto = load_model_with_shape_infer(file)
    return model


def name_nodes(model: onnx.ModelProto) -> bool:
    """Give every node a name of its own, as onnxruntime tells nodes apart by name; whether any had none."""
    taken = {node.name for node in model.graph.node}
    seen: set[str] = {""}
    changed = False
    for place, node in enumerate(model.graph.node):
        if node.name in seen:
            wanted = f"{node.op_type}_{place}"
            while wanted in taken:
                wanted += "_"
            node.name, changed = wanted, True
            taken.add(wanted)
        seen.add(node.name)
    return changed


def activation_products(model: onnx.ModelProto) -> list[str]:
    """Names of the matrix products without a constant factor: queries by keys, attention by values."""
    constants = {entry.name for entry in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and not constants & set(node.input)]


def softmax_readers(model: onnx.ModelProto) -> list[str]:
    """Names of the matrix products that read a softmax directly."""
    soft = {name for node in model.graph.node if node.op_type == "Softmax" for name in node.output}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and soft & set(node.input)]


def named_nodes(model: onnx.ModelProto, patterns: tuple[str, ...], path: str) -> list[str]:
    """Names of the nodes that match shell patterns.

    Raises:
        ExportError: if a pattern matches no node; the message lists a few names.
    """
    names = [node.name for node in model.graph.node]
    found: list[str] = []
    for pattern in patterns:
        matches = [name for name in names if fnmatchcase(name, pattern)]
        if not matches:
            some = ", ".join(name for name in names[:5] if name)
            raise ExportError(f"{path}.exclude: '{pattern}' matches no node of the graph. Nodes: {some}, ...")
        found += matches
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """onnxruntime.quantization prints to stdout and logs to the root logger; neither belongs to the user."""
    root = logging.getLogger()
    disabled = root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
