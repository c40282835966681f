"""The output of every operator of a .tflite file, from LiteRT: operator after operator, each a file of its own.

It runs as in the whole file, with XNNPACK where XNNPACK knows it, and image by image; images are stacked, so that a
value is (B, *shape in the file). The converter numbers its names of tensors through the whole file, constants among them, so they are called
after their operators instead ("CONV_2D.2", see `Numbered`); the layer has the file's name of its output. The file on disk stays
as it is. It compares nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgefw.contracts.backend import Layer
from edgefw.plugins.backends.layer_stream import LayerStream, Numbered, Step, unseen
from edgefw.plugins.backends.litert_alone import Alone, numbers_of


def layer_outputs(file: Path, data: bytes, feeds: Mapping[str, np.ndarray]) -> LayerStream:
    """The layers of a file on (B, C, H, W) images by input name.

    Args:
        file: named in messages.
        data: its bytes.
        feeds: by input name.

    Raises:
        ExportError: if the file cannot be read, or there is an input without images.
    """
    try:
        from ai_edge_litert.schema_py_generated import ModelT

        graph = _Graph(ModelT.InitFromPackedBuf(data, 0))
    except Exception as error:  # flatbuffers raises struct.error, TypeError and more
        raise unseen(file, error) from error
    if missing := [name for name in graph.inputs if name not in feeds]:
        raise unseen(file, f"there are no images for {', '.join(missing)}")
    return LayerStream(file, {name: feeds[name] for name in graph.inputs}, graph.steps, graph.compute)


class _Graph:
    """The operators of a file that depend on an image.

    Attributes:
        inputs: names of the file's inputs.
        steps: the operators' outputs.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        (signature,) = model.signatureDefs
        self.inputs = tuple(entry.name.decode() for entry in signature.inputs)
        self._names = {int(entry.tensorIndex): entry.name.decode() for entry in signature.inputs}
        self._constant: dict[int, Any] = {}  # what writes a tensor that depends on no image
        self._operators: list[Any] = []
        self._numbered = Numbered()
        self._loaded: tuple[int, Alone] | None = None  # two who go through the layers side by side load each once
        self.steps: list[Step] = []
        for operator in model.subgraphs[0].operators:
            self._add(operator)

    def compute(self, at: int, known: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """What an operator gives, (B, *shape in the file) per output."""
        numbers = self._reads(self._operators[at])
        rows = {number: known[self._names[number]] for number in numbers}
        rows = {number: own[:, None] if self._names[number] in self.inputs else own for number, own in rows.items()}
        alone = self._alone(at, numbers)
        count = len(rows[numbers[0]])
        each = [alone.run({number: own[image] for number, own in rows.items()}) for image in range(count)]
        return [np.stack(values) for values in zip(*each, strict=True)]

    def _add(self, operator: Any) -> None:
        reads, gives = self._reads(operator), numbers_of(operator.outputs)
        if not reads:
            self._constant |= dict.fromkeys(gives, operator)
            return
        kind = _kind(self._model.operatorCodes[operator.opcodeIndex])
        inputs = tuple(dict.fromkeys(self._names[number] for number in reads))
        own = dict(zip(gives, self._numbered.outputs(kind, len(gives)), strict=True))
        self._names |= own
        self._operators.append(operator)
        self.steps.append(tuple(self._layer(number, kind, name, inputs) for number, name in own.items()))

    def _layer(self, number: int, kind: str, name: str, inputs: tuple[str, ...]) -> Layer:
        node = self._model.subgraphs[0].tensors[number].name.decode()
        return Layer(layer=node, operator=kind, tensor=name, stands_for=name, inputs=inputs)

    def _reads(self, operator: Any) -> list[int]:
        """Numbers of the tensors that an operator reads and that depend on an image."""
        return [number for number in dict.fromkeys(numbers_of(operator.inputs)) if number in self._names]

    def _alone(self, at: int, reads: Sequence[int]) -> Alone:
        if self._loaded is None or self._loaded[0] != at:
            operator = self._operators[at]
            self._loaded = at, Alone(self._model, [*self._before(operator), operator], reads)
        return self._loaded[1]

    def _before(self, operator: Any) -> list[Any]:
        """The operators that make the constants of an operator, in an order in which they can be computed."""
        found: dict[int, Any] = {}
        for number in numbers_of(operator.inputs):
            if (writer := self._constant.get(number)) is not None:
                found |= {id(own): own for own in (*self._before(writer), writer)}
        return list(found.values())


def _kind(code: Any) -> str:
    """An operator's name in LiteRT's schema; files from before its 128th operator have the number elsewhere."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == BuiltinOperator.CUSTOM and code.customCode:
        return str(code.customCode.decode())
    return str(next(name for name, own in vars(BuiltinOperator).items() if own == number))
