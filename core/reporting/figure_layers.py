"""The columns of layers: how far each layer's output is from the source's, in the order of the graph. Knows names and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgefw.reporting.svg import colour, element, figure, text, tooltip

_WIDTH, _HEIGHT = 900.0, 190.0
_LEFT, _TOP, _BOTTOM = 56.0, 12.0, 34.0
_DECADES = (-6, 1)
"""Relative errors from 10^-6 to 10; what lies outside is drawn at the edge."""


def layer_figure(layers: Sequence[str], errors: Sequence[float], blamed: int | None, title: str) -> str:
    """One column per layer on a logarithmic axis; the blamed one stands out."""
    floor, step = _HEIGHT - _BOTTOM, (_WIDTH - _LEFT - 10) / max(len(layers), 1)
    parts = []
    for decade in range(_DECADES[0], _DECADES[1] + 1, 2):
        y = _height(10.0**decade)
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - 10, y1=y, y2=y, class_="rule"))
        parts.append(text(_LEFT - 6, y + 4, f"{10.0**decade:g}", "tick", "end"))
    for at, (name, error) in enumerate(zip(layers, errors, strict=True)):
        y, x = _height(error), _LEFT + at * step
        fill = colour(1) if at == blamed else colour(0)
        said = tooltip(f"{name}: relative error {error:.3g}")
        parts.append(element("rect", said, x=x, y=y, width=max(step - 1, 0.5), height=max(floor - y, 0.5), fill=fill))
    if blamed is not None:
        middle = min(max(_LEFT + (blamed + 0.5) * step, _LEFT + 90), _WIDTH - 100)
        parts.append(text(middle, _HEIGHT - 8, f"{layers[blamed]} departs first", "tick", "middle"))
    described = f"{len(layers)} layers; largest relative error {max(errors, default=0.0):.3g}."
    return figure(_WIDTH, _HEIGHT, title, described, parts)


def _height(error: float) -> float:
    low, high = _DECADES
    place = min(max(math.log10(error), low), high) if error > 0 else low
    return _TOP + (high - place) / (high - low) * (_HEIGHT - _BOTTOM - _TOP)
