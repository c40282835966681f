"""Where does a compiled graph first depart from its source? Arithmetic on the outputs of layers; no graph, no file.

Each layer is asked twice, and each answer is held against its counterpart's, over all samples (L2 norm over L2 norm):

    error = |f(x') - y| / |y|    on what the layers before it gave, x'
    own   = |f(x)  - y| / |y|    on what the source's layers gave in their place, x

An error travels on, grows and shrinks on its way, and none of that is the fault of the layers that it passes: their own
error is zero. The first layer whose own error is above the limit is blamed. Tensors without a counterpart (what a fault
inserted, integers between two roundings) are computed from right ones, and what they do wrong is the next layer's own.
What is rounded for a clamp alone (Relu, Clip) may have the clamp's narrow grid: values beyond it would be cut off anyway, and count for no error.

Limits of half precision: rounding to p bits of precision is off by u = 2^-p at the most. A layer y = sum of w x rounds w, x and y once each, so

    own <= u (|w| |x| summed twice, plus |y|) / |y|  <=  u (2 c + 1)  <=  3 u c,    c = sum of |w x| over |y| >= 1

c says how far the terms cancel. Signs at random make it about the root of the number of terms, but then the errors cancel as well: what is
left over a whole tensor is near 3 u. With c = 8 in reserve the limit is 24 u: 0.0117 for fp16 (p = 11), 0.094 for bf16 (p = 8).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgefw.contracts.backend import Layer, LayerView

_CLAMPS, _ROUNDING = frozenset({"Relu", "Clip"}), "DequantizeLinear"
FLOAT_LIMIT, ROUNDED_LIMIT = 1e-3, 0.15
"""Own error of one layer: sums in another order, and what eight bits do to an activation at the most."""
HALF_LIMITS = {"fp16": 24 * 2.0**-11, "bf16": 24 * 2.0**-8}
"""Own error of one layer in half precision: three roundings, times eight for terms that cancel."""
FAR = 1e6
_BLOCK = 1 << 20
UNSEEN = (
    "its layers cannot be looked into: only files of the backends onnxruntime (with format: onnx), openvino, ncnn and litert "
    "show theirs. Export one as well to see where the graph departs"
)
"""What is said of an artefact whose backend shows no layers."""


@dataclass(frozen=True, kw_only=True)
class Departure:
    """One layer's distance to its source.

    Attributes:
        error: relative, on what the layers before it gave.
        own: relative, on what the source's layers gave.
        cosine: on what the layers before it gave.
        inserted: layers without a counterpart that stand right before it.
    """

    layer: str
    operator: str
    tensor: str
    error: float
    own: float
    cosine: float
    inserted: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "inserted": list(self.inserted)}


def departures(source: LayerView, other: LayerView) -> list[Departure]:
    """One row per float tensor of `other` that has its counterpart in `source`, in the order of `other`.

    Raises:
        ExportError: if a layer does not run.
    """
    counterparts, cut = _Counterparts(source, other.layers), _rounded_for_clamps(other.layers)
    alone, forced = other.values(), other.values()
    inserted: dict[str, tuple[str, ...]] = {}
    sent: np.ndarray | None = None
    rows = []
    for layer in other.layers:
        wanted, given, own = counterparts.of(layer), next(alone), forced.send(sent)
        before = tuple(dict.fromkeys(name for own_input in layer.inputs for name in inserted.get(own_input, ())))
        sent = None
        if given is None or own is None or wanted is None:
            inserted[layer.tensor] = before if given is None else (*before, layer.layer)
            continue
        sent = wanted if wanted.shape == own.shape else None
        is_cut = layer.tensor in cut
        error, cosine = _apart(given, wanted, is_cut)
        rows.append(
            Departure(
                layer=layer.layer,
                operator=layer.operator,
                tensor=layer.tensor,
                error=error,
                own=_apart(own, wanted, is_cut)[0],
                cosine=cosine,
                inserted=before,
            )
        )
    return rows


def _apart(values: np.ndarray, wanted: np.ndarray, is_cut: bool) -> tuple[float, float]:
    """Relative error and cosine; what is cut behind `values` anyway need not go further than they do."""
    reaches = is_cut and bool(np.isfinite(values).all())
    return distance(values, wanted.clip(values.min(), values.max()) if reaches else wanted)


class _Counterparts:
    """The source's values for the layers of another graph, each held only until the last of them had it."""

    def __init__(self, source: LayerView, layers: Sequence[Layer]) -> None:
        self._names, self._values = iter([layer.tensor for layer in source.layers]), source.values()
        known = {layer.tensor for layer in source.layers}
        self._waiting = Counter(layer.stands_for for layer in layers if layer.stands_for in known)
        self._held: dict[str, np.ndarray | None] = {}

    def of(self, layer: Layer) -> np.ndarray | None:
        """What the layer should give; None where the source has nothing like it."""
        name = layer.stands_for
        if not self._waiting[name]:
            return None
        while name not in self._held:
            found, values = next(self._names), next(self._values)
            if self._waiting[found]:
                self._held[found] = values
        self._waiting[name] -= 1
        return self._held[name] if self._waiting[name] else self._held.pop(name)


def _rounded_for_clamps(layers: Sequence[Layer]) -> set[str]:
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


def limit_of(precision: str) -> float:
    """The largest own error of a layer that is right, in a file of this precision."""
    return FLOAT_LIMIT if precision == "fp32" else HALF_LIMITS.get(precision, ROUNDED_LIMIT)


def blame_row(artefact: str, precision: str, source: LayerView, other: LayerView) -> dict[str, Any]:
    """{artefact, limit, first, layers}: the departures of an artefact, and the first above the limit of its precision.

    Raises:
        ExportError: if a layer does not run.
    """
    found = departures(source, other)
    limit = limit_of(precision)
    blamed = first(found, limit)
    return {
        "artefact": artefact,
        "limit": limit,
        "first": blamed.to_json() if blamed else None,
        "layers": [row.to_json() for row in found],
    }


def distance(actual: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Relative error and cosine of whole tensors, in blocks.

    Another shape, and what is not finite in one of them alone, is as far away as can be.
    """
    if actual.shape != expected.shape:
        return FAR, -1.0
    if np.array_equal(actual, expected):
        return 0.0, 1.0
    one, other = np.ascontiguousarray(actual).reshape(-1), np.ascontiguousarray(expected).reshape(-1)
    sums = np.zeros(4)
    for start in range(0, one.size, _BLOCK):
        left, right = (part[start : start + _BLOCK].astype(np.float64) for part in (one, other))
        finite = np.isfinite(left) & np.isfinite(right)
        if not np.array_equal(left[~finite], right[~finite], equal_nan=True):
            return FAR, -1.0
        left, right = left[finite], right[finite]
        sums += [(left - right) @ (left - right), left @ left, right @ right, left @ right]
    apart, length, size = np.sqrt(sums[:3])
    if apart == 0.0:
        return 0.0, 1.0
    cosine = float(sums[3] / (size * length)) if size and length else 0.0
    return (min(float(apart / size), FAR) if size else FAR), min(cosine, 1.0)
