"""One operator of a .tflite file as a .tflite file of its own, loaded in LiteRT.

It holds the operator and those before it that make constants, their tensors, and the buffers that these use; other buffers are
left empty, so that numbers of buffers stay as they are. Further subgraphs, which an operator may call, go along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np


class Alone:
    """An operator that was loaded alone.

    Args:
        model: the whole file, a `ModelT`; it stays as it is.
        operators: the operator, behind those that make its constants.
        reads: numbers of the tensors that are given to it.

    Raises:
        ValueError, RuntimeError: if LiteRT refuses it.
    """

    def __init__(self, model: Any, operators: Sequence[Any], reads: Sequence[int]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        places = _places(operators)
        self._reads = {number: places[number] for number in reads}
        self._gives = [places[number] for number in numbers_of(operators[-1].outputs)]
        data = _packed(_cut_out(model, operators, places, [*self._reads.values()], self._gives))
        self._interpreter = Interpreter(model_content=data, num_threads=1)
        self._interpreter.allocate_tensors()

    def run(self, values: Mapping[int, np.ndarray]) -> list[np.ndarray]:
        """The outputs for {number of a tensor: its value}, in the operator's order."""
        for number, place in self._reads.items():
            self._interpreter.set_tensor(place, values[number])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(place) for place in self._gives]


def numbers_of(tensors: Any) -> list[int]:
    """Numbers of tensors, without the -1 of an optional input that is left out."""
    return [int(number) for number in ([] if tensors is None else tensors) if number >= 0]


def _places(operators: Sequence[Any]) -> dict[int, int]:
    """Number of a tensor in the whole file -> its number among those of the operators."""
    named = [numbers_of(own) for each in operators for own in (each.inputs, each.outputs, each.intermediates)]
    return {number: place for place, number in enumerate(dict.fromkeys(number for own in named for number in own))}


def _cut_out(
    model: Any, operators: Sequence[Any], places: Mapping[int, int], reads: Sequence[int], gives: Sequence[int]
) -> Any:
    from ai_edge_litert.schema_py_generated import BufferT, ModelT, SubGraphT

    main = SubGraphT()
    main.tensors = [model.subgraphs[0].tensors[number] for number in places]
    main.operators = [_moved(operator, places) for operator in operators]
    main.inputs, main.outputs = np.array(reads, np.int32), np.array(gives, np.int32)
    alone = ModelT(version=model.version, operatorCodes=model.operatorCodes)
    alone.subgraphs = [main, *model.subgraphs[1:]]
    used = {tensor.buffer for graph in alone.subgraphs for tensor in graph.tensors}
    alone.buffers = [own if number in used else BufferT() for number, own in enumerate(model.buffers)]
    return alone


def _moved(operator: Any, places: Mapping[int, int]) -> Any:
    moved = copy(operator)
    for key in ("inputs", "outputs", "intermediates"):
        tensors = getattr(operator, key)
        if tensors is not None:
            setattr(moved, key, np.array([places.get(int(number), -1) for number in tensors], np.int32))
    return moved


def _packed(model: Any) -> bytes:
    from flatbuffers import Builder

    builder = Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
