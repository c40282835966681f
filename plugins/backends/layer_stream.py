"""What layers give, one step after the other: what is sent back is read instead, what nobody reads any more is forgotten.

A step is computed at once and has one output or several. How, the backend says; this knows no runtime and no file format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgefw.contracts.backend import Layer
from edgefw.errors import ExportError

Step = tuple[Layer, ...]
"""The outputs of one node, at least one; all have the node's inputs."""


class LayerStream:
    """The graph's inputs, then the outputs of the steps; see `LayerView`.

    Args:
        file: named in messages.
        feeds: (B, C, H, W) images by input name.
        steps: in an order in which they can be computed.
        compute: what the step of a number gives on {tensor name: (B, ...)}, an array (B, ...) per output.
    """

    def __init__(
        self,
        file: Path,
        feeds: Mapping[str, np.ndarray],
        steps: Sequence[Step],
        compute: Callable[[int, Mapping[str, np.ndarray]], Sequence[np.ndarray]],
    ) -> None:
        self._file, self._steps, self._compute = file, steps, compute
        self._feeds = {name: np.ascontiguousarray(own, np.float32) for name, own in feeds.items()}
        self._last = {name: at for at, step in enumerate(steps) for name in step[0].inputs}
        self.layers: Sequence[Layer] = [
            *(Layer(layer=name, operator="Input", tensor=name, stands_for=name, inputs=()) for name in self._feeds),
            *(layer for step in steps for layer in step),
        ]

    def values(self) -> Generator[np.ndarray | None, np.ndarray | None, None]:
        """What each of `layers` gives; None for integers. What is sent back is read in its place.

        Raises:
            ExportError: if a layer does not run.
        """
        known: dict[str, np.ndarray] = {}
        for name, own in self._feeds.items():
            known[name] = _instead(own, (yield own))
        for at, step in enumerate(self._steps):
            for layer, own in zip(step, self._computed(at, known), strict=True):
                known[layer.tensor] = _instead(own, (yield own if own.dtype.kind == "f" else None))
            for name in (*step[0].inputs, *(layer.tensor for layer in step)):
                if self._last.get(name, -1) <= at:
                    known.pop(name, None)

    def _computed(self, at: int, known: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        try:
            return self._compute(at, {name: known[name] for name in self._steps[at][0].inputs})
        except Exception as error:  # runtimes raise ValueError, RuntimeError and TypeError
            raise unseen(self._file, error) from error


class Numbered:
    """Names of tensors for files whose own names are numbers: by operator, and how many of that kind the graph has had.

    Numbers of the whole file move with each layer or constant more. These are equal in two files up to the layer where one
    differs from the other, and of other operators even behind it.

    >>> numbered = Numbered()
    >>> numbered.outputs("Conv", 1), numbered.outputs("Slice", 2), numbered.outputs("Conv", 1)
    (['Conv.1'], ['Slice.1', 'Slice.1:1'], ['Conv.2'])
    """

    def __init__(self) -> None:
        self._counts = Counter[str]()

    def outputs(self, operator: str, count: int) -> list[str]:
        """Names of the outputs of the next node of an operator."""
        self._counts[operator] += 1
        name = f"{operator}.{self._counts[operator]}"
        return [name, *(f"{name}:{at}" for at in range(1, count))][:count]


def unseen(file: Path, error: Exception | str) -> ExportError:
    """What is said of a file whose layers cannot be looked at: the first line of the reason."""
    said = str(error).removeprefix(f"{file}: ").splitlines() or [type(error).__name__]
    return ExportError(f"{file}: its layers cannot be looked at ({said[0]})")


def _instead(computed: np.ndarray, sent: Any) -> np.ndarray:
    return computed if sent is None else np.ascontiguousarray(sent, computed.dtype)
