"""The output of every named layer of an OpenVINO IR, from OpenVINO: part after part, each a graph of its own.

An IR keeps the tensor names of the ONNX file that it was made from, and puts nodes of its own between them. So a layer is
what lies between tensors that have a name, hold floats and depend on an image: a Clip is a Maximum and a Minimum, a rounding pair of
QuantizeLinear and DequantizeLinear five nodes. What the pair gives stands for the tensor that went in; int8 weights are
seen through the layer that uses them. Shapes are those of the images. The file on disk stays as it is. It compares nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgefw.contracts.backend import Layer
from edgefw.errors import ExportError
from edgefw.plugins.backends.layer_stream import LayerStream, unseen
from edgefw.plugins.backends.openvino_core import reason

_ROUNDING = frozenset({"FakeQuantize", "Convert", "Subtract", "Multiply", "Reshape"})
"""What a pair of QuantizeLinear and DequantizeLinear becomes."""
_CLAMPING = frozenset({"Clamp", "Maximum", "Minimum"})
"""What a Clip becomes."""
_WEIGHTED = ("Convolution", "GroupConvolution", "MatMul", "MVN")
"""A part is called after these, not after the addition of a bias behind them."""
_SIZES = frozenset({"ShapeOf"})
"""What these give depends on the size of the images alone."""
_DEQUANTISES, _CLIPS = "DequantizeLinear", "Clip"
"""ONNX's names, by which roundings for a clamp alone are known."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What lies between named tensors.

    Attributes:
        layer: what it is to others.
        output: the tensor's `openvino.Output`.
        entries: (name, Parameter) of the tensors that it reads.
    """

    layer: Layer
    output: Any
    entries: tuple[tuple[str, Any], ...]


def layer_outputs(
    file: Path, model: Any, compiled: Callable[[Any], Any], feeds: Mapping[str, np.ndarray]
) -> LayerStream:
    """The layers of a model on (B, C, H, W) images by input name.

    Args:
        file: named in messages.
        model: an `openvino.Model`, which is taken apart.
        compiled: an `openvino.CompiledModel` of a model.
        feeds: by input name.

    Raises:
        ExportError: if the model cannot take these images.
    """
    try:
        model.reshape({entry.get_any_name(): list(feeds[entry.get_any_name()].shape) for entry in model.inputs})
        parts = _parts(model, feeds)
    except Exception as error:  # openvino raises RuntimeError and TypeError, a missing input is a KeyError
        raise unseen(file, reason(error)) from error
    return LayerStream(file, feeds, [(part.layer,) for part in parts], _Graph(parts, compiled).compute)


class _Graph:
    """The parts of a model, each compiled when it is asked for."""

    def __init__(self, parts: Sequence[_Part], compiled: Callable[[Any], Any]) -> None:
        self._parts, self._compiled = parts, compiled
        self._opened: tuple[int, Any] | None = None  # two who go through the layers side by side compile each once

    def compute(self, at: int, known: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """What a part gives.

        Raises:
            ExportError: if it does not run.
        """
        from openvino import Model

        part = self._parts[at]
        try:
            if self._opened is None or self._opened[0] != at:
                model = Model([part.output], [entry for _, entry in part.entries], "layer")
                self._opened = at, self._compiled(model)
            values = self._opened[1]([known[name] for name, _ in part.entries])
        except Exception as error:  # openvino raises RuntimeError and TypeError
            raise ExportError(reason(error)) from error
        return [np.array(values[0], np.float32)]


def _parts(model: Any, feeds: Mapping[str, np.ndarray]) -> list[_Part]:
    """The parts in the order of the graph; cuts the model at its named tensors."""
    depends = _depends(model)
    named = {min(output.get_names()): output for output in depends if _is_shown(output)}
    sources = {next(name for name in feeds if name in entry.get_names()): entry for entry in model.inputs}
    entries = {name: _cut(output) for name, output in {**sources, **named}.items()}
    names = {entry.output(0): name for name, entry in entries.items()}
    between = {name: _between(output, names, depends) for name, output in named.items()}
    rounded = {name: reads[0] for name, (reads, inside) in between.items() if _rounds(reads, inside)}
    stands = _stand_for(rounded, [min(result.get_names(), default="") for result in model.outputs])
    return [
        _Part(
            layer=_layer(output, name, stands.get(name, name), *between[name]),
            output=output,
            entries=tuple((own, entries[own]) for own in between[name][0]),
        )
        for name, output in named.items()
    ]


def _depends(model: Any) -> dict[Any, None]:
    """Outputs of nodes that depend on an image, and on more of it than its size, in an order in which they can be computed."""
    found = dict.fromkeys(entry.get_node().output(0) for entry in model.inputs)
    for node in model.get_ordered_ops():
        if node.get_type_name() not in _SIZES and any(source in found for source in node.input_values()):
            found |= dict.fromkeys(node.outputs())
    return found


def _is_shown(output: Any) -> bool:
    """Whether an output is a tensor of the ONNX file that holds floats, and no input of the graph."""
    kind = output.get_node().get_type_name()
    return bool(output.get_names()) and output.get_element_type().is_real() and kind not in ("Parameter", "Result")


def _cut(output: Any) -> Any:
    """A Parameter that all readers of an output read in its place."""
    from openvino import opset1

    entry = opset1.parameter(output.get_partial_shape(), output.get_element_type())
    for reader in output.get_target_inputs():
        if reader.get_node().get_type_name() != "Result":
            reader.replace_source_output(entry.output(0))
    return entry


def _between(output: Any, names: Mapping[Any, str], depends: Mapping[Any, None]) -> tuple[tuple[str, ...], set[str]]:
    """What a part reads, by name, and the types of its nodes that depend on an image."""
    reads: dict[str, None] = {}
    inside, seen, waiting = set(), set(), [output]
    while waiting:
        own = waiting.pop()
        if own in names:
            reads[names[own]] = None
        elif own not in seen:
            seen.add(own)
            waiting += own.get_node().input_values()
            inside |= {own.get_node().get_type_name()} if own in depends else set()
    return tuple(reads), inside


def _rounds(reads: Sequence[str], inside: set[str]) -> bool:
    """Whether a part is a pair of QuantizeLinear and DequantizeLinear."""
    return len(reads) == 1 and "FakeQuantize" in inside and inside <= _ROUNDING


def _stand_for(rounded: Mapping[str, str], ends: Sequence[str]) -> dict[str, str]:
    """The source's names of tensors around roundings: a pair's output is its input; a graph's own output keeps its name."""
    stands = {before: after for after, before in rounded.items() if after in ends}
    for after, before in rounded.items():  # in the graph's order: two pairs in a row stand for what went into the first
        stands[after] = stands.get(before, before)
    return stands


def _layer(output: Any, name: str, stands_for: str, reads: tuple[str, ...], inside: set[str]) -> Layer:
    node = output.get_node()
    clips = len(reads) == 1 and inside <= _CLAMPING
    weighted = next((kind for kind in _WEIGHTED if kind in inside), node.get_type_name())
    operator = _DEQUANTISES if _rounds(reads, inside) else _CLIPS if clips else weighted
    return Layer(layer=node.get_friendly_name(), operator=operator, tensor=name, stands_for=stands_for, inputs=reads)
