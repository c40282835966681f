"""Gives parts of an int8 graph back to float, worst first, until its answers suffice or time is up.

A part is one rounded activation (a QuantizeLinear and its DequantizeLinear) with the weights of the layers that read it. Each part is tried alone on few
samples; those whose return helps most go back together, 1, 2, 4, ... of them, and then as few as suffice are searched for in between. Knows
graphs of QuantizeLinear and DequantizeLinear pairs; computes no ranges and runs no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

PASSING = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that move numbers and compute none."""

Score = Callable[[onnx.ModelProto], float]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A rounded activation; `tensor` is what was rounded, `pair` what the pair gives, `layers` the nodes that read it."""

    tensor: str
    pair: str
    layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best graph so far, its cosine, the parts that are float in it, and whether time ended the search."""

    model: onnx.ModelProto
    cosine: float
    parts: tuple[Part, ...] = ()
    out_of_time: bool = False


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is wanted, and how a graph is judged.

    Attributes:
        source: the float graph, whose nodes have the names of the int8 graph's.
        few: cosine to the float answers on few samples, to rank parts.
        all: the same on all samples, to accept.
        wanted: cosine on all samples that ends the search.
        time_left: asked before each trial.
        time_to_rank: asked before each part is ranked; the rest of the time is for whole trials.
    """

    source: onnx.ModelProto
    few: Score
    all: Score
    wanted: float
    time_left: Callable[[], bool]
    time_to_rank: Callable[[], bool]

    def run(self, rounded: onnx.ModelProto) -> Found:
        """The graph with as many int8 parts as `wanted` allows, or the best one found in time."""
        best = Found(model=rounded, cosine=_number(self.all(rounded)))
        if best.cosine >= self.wanted:
            return best
        order, tried = self._ranked(rounded), 0
        while best.cosine < self.wanted and tried < len(order) and self.time_left():
            tried = min(max(1, 2 * tried), len(order))
            best = max(best, self._trial(rounded, order[:tried]), key=lambda found: found.cosine)
        if best.cosine < self.wanted:
            return replace(best, out_of_time=tried < len(order))
        return self._fewest(rounded, order, best)

    def _ranked(self, rounded: onnx.ModelProto) -> list[Part]:
        """Parts, the one whose return helps most first; those that time did not allow to try stand last."""
        gains, untried = [], []
        for part in parts(rounded):
            if self.time_to_rank():
                gains.append((_number(self.few(without(rounded, self.source, [part]))), part))
            else:
                untried.append(part)
        return [part for _, part in sorted(gains, key=lambda gain: -gain[0])] + untried

    def _trial(self, rounded: onnx.ModelProto, chosen: Sequence[Part]) -> Found:
        model = without(rounded, self.source, chosen)
        return Found(model=model, cosine=_number(self.all(model)), parts=tuple(chosen))

    def _fewest(self, rounded: onnx.ModelProto, order: list[Part], best: Found) -> Found:
        enough = len(best.parts)
        few = enough // 2
        while enough - few > 1 and self.time_left():
            trial = self._trial(rounded, order[: (few + enough) // 2])
            if trial.cosine >= self.wanted:
                best, enough = trial, len(trial.parts)
            else:
                few = len(trial.parts)
        return best


def _number(cosine: float) -> float:
    """A graph whose answers are no numbers is as far from its source as can be."""
    return -1.0 if math.isnan(cosine) else cosine


def float_layers(found: Found, source: onnx.ModelProto) -> list[str]:
    """Layers of the source that went back, each once, none of whose inputs is still rounded."""
    own = {node.name for node in source.graph.node}
    given = {name for part in found.parts for name in part.layers} & own
    pairs = {node.output[0] for node in found.model.graph.node if node.op_type == "DequantizeLinear"}
    return [node.name for node in found.model.graph.node if node.name in given and not pairs & set(node.input)]


def parts(model: onnx.ModelProto) -> list[Part]:
    """Every rounded activation whose readers have names, in the order of the graph."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found = []
    for node in model.graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if maker is not None and maker.op_type == "QuantizeLinear":
            layers = tuple(reader.name for reader in _readers(model, node.output[0]))
            if all(layers):
                found.append(Part(tensor=maker.input[0], pair=node.output[0], layers=layers))
    return found


def without(rounded: onnx.ModelProto, source: onnx.ModelProto, chosen: Sequence[Part]) -> onnx.ModelProto:
    """A copy of the graph in which these parts are float: tensors unrounded, weights and biases those of `source`."""
    model = onnx.ModelProto()
    model.CopyFrom(rounded)
    added = _smoothing(rounded, source)
    given = {part.pair: added.get(part.tensor, part.tensor) for part in chosen}
    layers = {name for part in chosen for name in part.layers}
    _skip(model, given)
    originals = {node.name: node for node in source.graph.node}
    for node in model.graph.node:
        if node.name in layers and node.name in originals:
            _give_back(model, node, source, originals[node.name])
    _prune(model)
    return model


def _smoothing(rounded: onnx.ModelProto, source: onnx.ModelProto) -> dict[str, str]:
    """What a factor that a quantizer put before a layer gives, and what it reads: the float weights know no such factor."""
    own = {node.name for node in source.graph.node}
    constants = {entry.name for entry in rounded.graph.initializer}
    found = {}
    for node in rounded.graph.node:
        activations = [name for name in node.input if name not in constants]
        if node.op_type == "Mul" and node.name not in own and len(activations) == 1:
            found[node.output[0]] = activations[0]
    return found


def _skip(model: onnx.ModelProto, given: Mapping[str, str]) -> None:
    """Readers of a pair read what went into it; where a pair gives an output of the graph, its tensor takes that name."""
    ends = {given[output.name]: output.name for output in model.graph.output if output.name in given}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            tensor = given.get(name, name)
            node.input[position] = ends.get(tensor, tensor)
        for position, name in enumerate(node.output):
            node.output[position] = ends.get(name, f"{name}_unread" if name in ends.values() else name)


def _readers(model: onnx.ModelProto, tensor: str) -> Iterator[onnx.NodeProto]:
    """Nodes that read a tensor, also behind nodes that pass it on."""
    for node in model.graph.node:
        if tensor in node.input:
            if node.op_type in PASSING:
                yield from _readers(model, node.output[0])
            else:
                yield node


def _give_back(model: onnx.ModelProto, node: onnx.NodeProto, source: onnx.ModelProto, own: onnx.NodeProto) -> None:
    """The constants of a float node, under names of their own: a quantizer may have corrected them in place."""
    constants = {entry.name: entry for entry in source.graph.initializer}
    present = {entry.name for entry in model.graph.initializer}
    for position, name in enumerate(own.input):
        if name in constants and position < len(node.input):
            node.input[position] = f"{name}_float"
            if f"{name}_float" not in present:
                entry = model.graph.initializer.add()
                entry.CopyFrom(constants[name])
                entry.name = f"{name}_float"


def _prune(model: onnx.ModelProto) -> None:
    """Remove what nothing reads any more."""
    kept = {output.name for output in model.graph.output}
    for position in reversed(range(len(model.graph.node))):
        node = model.graph.node[position]
        if kept & set(node.output):
            kept |= set(node.input)
        else:
            del model.graph.node[position]
    for position in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[position].name not in kept:
            del model.graph.initializer[position]
