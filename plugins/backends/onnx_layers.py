"""The output of every layer of an ONNX file, from ONNX Runtime: node after node, each a graph of its own.

Nothing is optimised, so that each node computes what the file says, and no more is in memory than the weights and what
later nodes still read. Where a quantizer wrapped a tensor into a pair of QuantizeLinear and DequantizeLinear, what the pair
gives stands for the tensor that went in; int8 weights are seen through the layer that uses them. The file on disk stays as
it is. It compares nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from edgefw.contracts.backend import Layer
from edgefw.errors import ExportError

_SIZES = frozenset({"Shape", "Size"})
"""What these give depends on the size of the images alone."""


def layer_outputs(file: Path, feeds: Mapping[str, np.ndarray]) -> OnnxLayers:
    """The layers of a file on (B, C, H, W) images by input name.

    Raises:
        ExportError: if the file cannot be read.
    """
    try:
        return OnnxLayers(file, onnx.load(file), feeds)
    except Exception as error:  # protobuf's and onnx's errors have no common type
        raise _unseen(file, error) from error


class OnnxLayers:
    """The graph's inputs, then every output of every node that depends on an image; see `LayerView`."""

    def __init__(self, file: Path, model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> None:
        self._file, self._model, self._feeds = file, model, dict(feeds)
        _sort(model.graph)
        self._stored = {entry.name: entry for entry in model.graph.initializer}
        self._reads = [_read_by(node) for node in model.graph.node]
        self._last = {name: at for at, names in enumerate(self._reads) for name in names}
        self._shown = _reached(model.graph, self._reads, self._feeds)
        self.layers: Sequence[Layer] = [
            *(Layer(layer=name, operator="Input", tensor=name, stands_for=name, inputs=()) for name in self._feeds),
            *self._of_nodes(),
        ]

    def _of_nodes(self) -> Iterator[Layer]:
        stands = _stand_for(self._model.graph)
        for node, reads in zip(self._model.graph.node, self._reads, strict=True):
            for name in filter(self._shown.__contains__, node.output):
                yield Layer(
                    layer=node.name or node.output[0],
                    operator=node.op_type,
                    tensor=name,
                    stands_for=stands.get(name, name),
                    inputs=reads,
                )

    def values(self) -> Generator[np.ndarray | None, np.ndarray | None, None]:
        """What each of `layers` gives; None for integers. What is sent back is read in its place.

        Raises:
            ExportError: if a node does not run.
        """
        known: dict[str, Any] = {}
        for name, own in self._feeds.items():
            known[name] = _instead(own, (yield own))
        for at, (node, reads) in enumerate(zip(self._model.graph.node, self._reads, strict=True)):
            known |= self._computed(node, {name: known[name] for name in reads if name in known})
            for name in filter(self._shown.__contains__, node.output):
                is_float = isinstance(known[name], np.ndarray) and known[name].dtype.kind == "f"
                sent = yield known[name] if is_float else None
                known[name] = _instead(known[name], sent)
            for name in (*reads, *node.output):
                if self._last.get(name, -1) <= at:
                    known.pop(name, None)

    def _computed(self, node: onnx.NodeProto, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What one node gives, by name."""
        names = [name for name in node.output if name]
        stored = [self._stored[name] for name in _read_by(node) if name in self._stored and name not in inputs]
        graph = helper.make_graph(
            [node],
            "layer",
            [_described(name, values) for name, values in inputs.items()],
            [onnx.ValueInfoProto(name=name) for name in names],
            stored,
        )
        whole = self._model
        model = helper.make_model(graph, opset_imports=whole.opset_import, functions=whole.functions)
        model.ir_version = whole.ir_version
        try:
            return dict(zip(names, _session(model).run(names, dict(inputs)), strict=True))
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            raise _unseen(self._file, error) from error


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # threads would be made and ended for every node
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _read_by(node: onnx.NodeProto) -> tuple[str, ...]:
    """Names that a node reads, those that its branches and loops take from around them among them."""
    inner = [own.g for own in node.attribute if own.type == onnx.AttributeProto.GRAPH]
    names = dict.fromkeys(name for name in node.input if name)
    for graph in inner:
        own = {entry.name for entry in (*graph.input, *graph.initializer)}
        own |= {name for inside in graph.node for name in inside.output}
        wanted = [name for inside in graph.node for name in _read_by(inside)] + [entry.name for entry in graph.output]
        names |= dict.fromkeys(name for name in wanted if name not in own)
    return tuple(names)


def _sort(graph: onnx.GraphProto) -> None:
    """Put nodes behind those that they read from; the converter to fp16 writes the casts of inputs last."""
    unwritten = {name for node in graph.node for name in node.output}
    waiting, ordered = list(graph.node), []
    while waiting:
        left = []
        for node in waiting:
            if unwritten.isdisjoint(_read_by(node)):
                ordered.append(node)
                unwritten.difference_update(node.output)
            else:
                left.append(node)
        if len(left) == len(waiting):  # a circle, which the runtime refuses
            return
        if not left and len(ordered) == len(waiting):  # as they stand
            return
        waiting = left
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)


def _reached(graph: onnx.GraphProto, reads: list[tuple[str, ...]], feeds: Mapping[str, np.ndarray]) -> set[str]:
    """Names of tensors that depend on an image, and on more of it than its size."""
    found = set(feeds)
    for node, names in zip(graph.node, reads, strict=True):
        if node.op_type not in _SIZES and not found.isdisjoint(names):
            found.update(name for name in node.output if name)
    return found


def _stand_for(graph: onnx.GraphProto) -> dict[str, str]:
    """The source's names of tensors around roundings: a pair's output is its input; a graph's own output keeps its name."""
    writers = {name: node for node in graph.node for name in node.output if name}
    ends = {entry.name for entry in graph.output}
    stands: dict[str, str] = {}
    for node in graph.node:
        pair = writers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if pair is None or pair.op_type != "QuantizeLinear":
            continue
        before, after = pair.input[0], node.output[0]
        if after in ends:
            stands[before] = after
        stands[after] = stands.get(before, before)
    return stands


def _described(name: str, values: Any) -> onnx.ValueInfoProto:
    """What a node's graph has to say of a tensor, or of a list of tensors, that it is given."""
    if isinstance(values, list):
        kind = helper.np_dtype_to_tensor_dtype(values[0].dtype) if values else onnx.TensorProto.FLOAT
        return helper.make_tensor_sequence_value_info(name, kind, None)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)


def _instead(computed: Any, sent: np.ndarray | None) -> Any:
    return computed if sent is None else sent.astype(computed.dtype, copy=False)


def _unseen(file: Path, error: Exception) -> ExportError:
    lines = str(error).splitlines() or [type(error).__name__]
    return ExportError(f"{file}: its layers cannot be looked at ({lines[0]})")
