"""The output of every layer of an ncnn network, from ncnn: a fresh extractor is given what a layer reads, and asked for what it gives.

ncnn computes what an asked blob needs and was not given, so that is one layer, and what it reads of constants. It runs as
the whole network does, in fp32 and image by image; images are stacked. Blobs are numbered through the whole network, so they are
called after their layers' operators instead ("Convolution.2", see `Numbered`). A Split gives copies, and is no layer: who
reads a copy reads what went into it. The network stays as it is. It compares nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgefw.contracts.backend import Layer
from edgefw.errors import ExportError
from edgefw.plugins.backends.layer_stream import LayerStream, Numbered, Step, unseen

_COPIES = "Split"


def layer_outputs(file: Path, net: Any, inputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> LayerStream:
    """The layers of a network on (B, C, H, W) images by input name.

    Args:
        file: named in messages.
        net: an `ncnn.Net` with its weights.
        inputs: names in the order of ncnn's in0, in1, ...
        feeds: by input name.

    Raises:
        ExportError: if there is an input without images.
    """
    if missing := [name for name in inputs if name not in feeds]:
        raise unseen(file, f"there are no images for {', '.join(missing)}")
    graph = _Graph(net, inputs)
    return LayerStream(file, {name: feeds[name] for name in inputs}, graph.steps, graph.compute)


class _Graph:
    """The layers of a network that depend on an image.

    Attributes:
        steps: their outputs.
    """

    def __init__(self, net: Any, inputs: Sequence[str]) -> None:
        self._net, self._numbered = net, Numbered()
        self._of = dict(zip(net.input_indexes(), inputs, strict=True))  # number of a blob -> name of what it holds
        self._reads: list[list[int]] = []
        self._gives: list[list[int]] = []
        self.steps: list[Step] = []
        for layer in net.layers():
            self._add(layer)

    def _add(self, layer: Any) -> None:
        reads = [number for number in layer.bottoms if number in self._of]
        if not reads:
            return
        if layer.type == _COPIES:
            self._of |= dict.fromkeys(layer.tops, self._of[reads[0]])
            return
        inputs = tuple(dict.fromkeys(self._of[number] for number in reads))
        names = self._numbered.outputs(layer.type, len(layer.tops))
        self._of |= dict(zip(layer.tops, names, strict=True))
        self._reads.append(reads)
        self._gives.append(list(layer.tops))
        self.steps.append(tuple(_layer(layer, name, inputs) for name in names))

    def compute(self, at: int, known: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """What a layer gives, (B, ...) per output."""
        count = len(next(iter(known.values())))
        rows = [self._one(at, {name: values[number] for name, values in known.items()}) for number in range(count)]
        return [np.stack(values) for values in zip(*rows, strict=True)]

    def _one(self, at: int, known: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """What a layer gives for one image."""
        from ncnn import Mat

        extractor = self._net.create_extractor()
        extractor.set_light_mode(False)  # else a layer may write into what it reads
        for number in self._reads[at]:
            extractor.input(number, Mat(known[self._of[number]]).clone())
        found = []
        for number in self._gives[at]:
            status, values = extractor.extract(number)
            if status != 0:
                raise ExportError(f"ncnn cannot run layer {self.steps[at][0].layer}, status {status}")
            found.append(np.array(values, np.float32))
        return found


def _layer(layer: Any, name: str, inputs: tuple[str, ...]) -> Layer:
    return Layer(layer=layer.name, operator=layer.type, tensor=name, stands_for=name, inputs=inputs)
