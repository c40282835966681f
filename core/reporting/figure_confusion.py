"""A confusion matrix as a heat map, coloured by the share of the row: what a class is taken for.

Knows counts and names. Up to 40 classes are named; beyond that the map shows the pattern and a table the worst pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefw.reporting.numbers import percent
from edgefw.reporting.svg import element, figure, text, text_width, tooltip

_SIDE = 380.0
_NAMED = 40
_COUNTED = 16


def confusion_figure(counts: np.ndarray, names: Sequence[str], title: str) -> str:
    """The heat map of counts (K, K), row = label, column = prediction."""
    classes = len(names)
    cell = min(34.0, _SIDE / max(classes, 1))
    named = classes <= _NAMED
    size = max(7.0, min(12.0, cell * 0.8))
    left = 26 + max(text_width(name, size) for name in names) if named else 30.0
    top = left if named else 30.0
    side = cell * classes
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = "".join(
        _cell(counts, share, names, row, column, left, top, cell)
        for row, column in zip(*np.nonzero((counts > 0) | np.eye(classes, dtype=bool)), strict=True)
    )
    frame = element("rect", x=left, y=top, width=side, height=side, class_="frame")
    labels = _names(names, left, top, cell, size) if named else ""
    axes = text(left + side, top + side + 18, "predicted →", "tick", "end") + text(
        14, top + side, "label →", "tick", transform=f"rotate(-90 14 {top + side:.1f})"
    )
    right = float(np.trace(counts)) / max(float(counts.sum()), 1.0)
    said = f"{percent(right)} of {int(counts.sum())} samples on the diagonal. " + worst_sentence(counts, names)
    return figure(left + side + 16, top + side + 26, title, said, [cells, frame, labels, axes])


def worst_pairs(counts: np.ndarray, names: Sequence[str], most: int = 5) -> list[tuple[str, str, int, float]]:
    """The largest cells off the diagonal: (label, prediction, count, share of the label's samples)."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = [divmod(int(at), len(names)) for at in order if wrong.flat[at] > 0]
    totals = counts.sum(axis=1)
    return [(names[r], names[c], int(wrong[r, c]), float(wrong[r, c] / totals[r])) for r, c in places]


def worst_sentence(counts: np.ndarray, names: Sequence[str]) -> str:
    """The most frequent confusions in words."""
    pairs = worst_pairs(counts, names, 3)
    if not pairs:
        return "Nothing is confused."
    return "Most often: " + ", ".join(f"{label} taken for {taken} ({n}×)" for label, taken, n, _ in pairs) + "."


def _cell(
    counts: np.ndarray,
    share: np.ndarray,
    names: Sequence[str],
    row: int,
    column: int,
    left: float,
    top: float,
    cell: float,
) -> str:
    value, n = float(share[row, column]), int(counts[row, column])
    x, y = left + column * cell, top + row * cell
    said = f"{names[row]} taken for {names[column]}: {n} ({percent(value, 0)})"
    box = element("rect", tooltip(said), x=x, y=y, width=cell, height=cell, fill=_shade(value, row == column))
    if len(names) > _COUNTED or n == 0:
        return box
    tone = "on-dark" if value > 0.55 else "on-light"
    size = 11 if n < 1000 else 9
    return box + text(x + cell / 2, y + cell / 2 + 4, str(n), f"count {tone}", "middle", font_size=size)


def _shade(value: float, right: bool) -> str:
    """White to blue on the diagonal, white to orange off it: right and wrong stay apart in grey print by position."""
    end = (37, 99, 168) if right else (196, 84, 26)
    depth = min(1.0, value) ** 0.7
    return "#" + "".join(f"{round(255 + (channel - 255) * depth):02x}" for channel in end)


def _names(names: Sequence[str], left: float, top: float, cell: float, size: float) -> str:
    parts = []
    for at, name in enumerate(names):
        middle = at * cell + cell / 2
        parts.append(text(left - 6, top + middle + size / 3, name, "cell-name", "end", font_size=size))
        x, y = left + middle + size / 3, top - 6
        parts.append(text(x, y, name, "cell-name", font_size=size, transform=f"rotate(-90 {x:.1f} {y:.1f})"))
    return "".join(parts)
