"""Where does a compiled graph first depart from its source? Arithmetic on the outputs of layers; no graph, no file.

For each layer both have, the relative error of its output over all samples (L2 norm over L2 norm), and how much of it
is the layer's own:

    own = error(output) - max over inputs of error(input)

An error travels on, and what a layer passes on is not its fault. The first layer whose own error is above the limit is
blamed. It does not say that later layers are right: behind the first departure everything is measured on wrong inputs.
What is rounded for a clamp alone (Relu, Clip) may have the clamp's narrow grid: values beyond it would be cut off anyway, and count for no error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgefw.contracts.backend import LayerOutput

_CLAMPS, _ROUNDING = frozenset({"Relu", "Clip"}), "DequantizeLinear"
FLOAT_LIMIT, ROUNDED_LIMIT = 1e-3, 0.15
"""Own error of one layer: sums in another order, and what eight bits do to an activation at the most."""


@dataclass(frozen=True, kw_only=True)
class Departure:
    """One layer's distance to its source: relative `error`, the part of it that is its `own`, `cosine`."""

    layer: str
    operator: str
    tensor: str
    error: float
    own: float
    cosine: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def departures(source: Sequence[LayerOutput], other: Sequence[LayerOutput]) -> list[Departure]:
    """One row per layer of `other` that has its counterpart in `source`, in the order of `other`."""
    expected = {layer.tensor: layer.values for layer in source}
    cut = _rounded_for_clamps(other)
    errors: dict[str, float] = {}
    rows = []
    for layer in other:
        wanted = expected.get(layer.stands_for)
        inherited = max((errors.get(name, 0.0) for name in layer.inputs), default=0.0)
        if wanted is None or wanted.shape != layer.values.shape:
            errors[layer.tensor] = inherited
            continue
        if layer.tensor in cut:
            wanted = wanted.clip(layer.values.min(), layer.values.max())
        error, cosine = _distance(layer.values, wanted)
        errors[layer.tensor] = error
        rows.append(
            Departure(
                layer=layer.layer,
                operator=layer.operator,
                tensor=layer.tensor,
                error=error,
                own=error - inherited,
                cosine=cosine,
            )
        )
    return rows


def _rounded_for_clamps(layers: Sequence[LayerOutput]) -> set[str]:
    """Rounded tensors that nothing but clamps read."""
    readers: dict[str, set[str]] = {}
    for layer in layers:
        for name in layer.inputs:
            readers.setdefault(name, set()).add(layer.operator)
    rounded = {layer.tensor for layer in layers if layer.operator == _ROUNDING}
    return {name for name in rounded if name in readers and readers[name] <= _CLAMPS}


def first(rows: Sequence[Departure], limit: float) -> Departure | None:
    """The first layer whose own error is above the limit."""
    return next((row for row in rows if row.own > limit), None)


def _distance(actual: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Relative error and cosine of whole tensors; what is not finite is as far away as can be."""
    one, other = actual.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    if not np.isfinite(one).all():
        return 1e6, -1.0
    size, length = float(np.linalg.norm(other)), float(np.linalg.norm(one))
    error = float(np.linalg.norm(one - other))
    if error == 0.0:
        return 0.0, 1.0
    cosine = float(one @ other) / (size * length) if size and length else 0.0
    return (min(error / size, 1e6) if size else 1e6), min(cosine, 1.0)
