"""The bar figure of the report's first page: accuracy of each model on each modality, with its uncertainty.

Knows model rows and intervals, not where they were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgefw.reporting.model_rows import ModelRow
from edgefw.reporting.numbers import percent
from edgefw.reporting.svg import Axis, colour, element, figure, text, text_width, tooltip

_BAR, _GAP, _GROUP = 20.0, 4.0, 18.0
_WIDTH, _TOP = 1000.0, 52.0

Intervals = Mapping[tuple[str, str], tuple[float, float]]
"""(model, modality) -> 95 % interval of the accuracy."""


def accuracy_figure(
    rows: Sequence[ModelRow], modalities: Sequence[str], metric: str, intervals: Intervals, chance: float | None
) -> str:
    """Horizontal bars, grouped by model; whiskers are intervals, a dashed line is chance level."""
    shown = [row for row in rows if row.accuracy]
    left = 16 + max(text_width(row.model, 13, bold=True) for row in shown)
    axis = Axis(0.0, 1.0, left, _WIDTH - 70)
    groups, y = [], _TOP
    for row in shown:
        bars = [(at, modality) for at, modality in enumerate(modalities) if modality in row.accuracy]
        groups.append(_group(row, bars, axis, y, intervals))
        y += len(bars) * (_BAR + _GAP) + _GROUP
    height = y + 26
    parts = [_grid(axis, y - 8), *groups, _legend(modalities, left)]
    if chance is not None:
        parts.append(_chance(axis(chance), y - 8))
    described = "; ".join(
        f"{row.model}: " + ", ".join(f"{name} {percent(value)}" for name, value in row.accuracy.items())
        for row in shown
    )
    return figure(_WIDTH, height, f"{metric} by model and modality", described, parts)


def _group(row: ModelRow, bars: Sequence[tuple[int, str]], axis: Axis, top: float, intervals: Intervals) -> str:
    middle = top + (len(bars) * (_BAR + _GAP) - _GAP) / 2
    parts = [text(axis.start - 12, middle + 4.5, row.model, "model", "end")]
    for line, (at, modality) in enumerate(bars):
        y = top + line * (_BAR + _GAP)
        parts.append(_bar(row, modality, colour(at), axis, y, intervals.get((row.model, modality))))
    return "".join(parts)


def _bar(row: ModelRow, modality: str, fill: str, axis: Axis, y: float, interval: tuple[float, float] | None) -> str:
    value = row.accuracy[modality]
    said = f"{row.model}, {modality}: {percent(value)}"
    said += f" of {row.count[modality]} samples" if modality in row.count else ""
    said += f", 95 % interval {percent(interval[0])} to {percent(interval[1])}" if interval else ""
    width = max(axis(value) - axis.start, 1.0)
    bar = element("rect", tooltip(said), x=axis.start, y=y, width=width, height=_BAR, fill=fill, rx=2)
    end = axis(interval[1]) if interval else axis(value)
    label = text(max(end, axis(value)) + 8, y + _BAR / 2 + 4.5, percent(value), "value")
    return bar + (_whisker(axis, interval, y + _BAR / 2) if interval else "") + label


def _whisker(axis: Axis, interval: tuple[float, float], y: float) -> str:
    low, high = axis(interval[0]), axis(interval[1])
    path = f"M{low:.1f} {y:.1f}H{high:.1f}M{low:.1f} {y - 4:.1f}v8M{high:.1f} {y - 4:.1f}v8"
    return element("path", d=path, class_="whisker")


def _grid(axis: Axis, bottom: float) -> str:
    lines = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = axis(tick)
        lines.append(element("line", x1=x, x2=x, y1=_TOP - 8, y2=bottom, class_="rule"))
        lines.append(text(x, bottom + 18, percent(tick, 0), "tick", "middle"))
    return "".join(lines)


def _chance(x: float, bottom: float) -> str:
    line = element("line", x1=x, x2=x, y1=_TOP - 8, y2=bottom, class_="chance")
    return line + text(x + 4, _TOP - 11, "chance", "tick")


def _legend(modalities: Sequence[str], left: float) -> str:
    parts, x = [], left
    for at, modality in enumerate(modalities):
        parts.append(element("rect", x=x, y=4, width=12, height=12, fill=colour(at), rx=2))
        parts.append(text(x + 18, 14.5, modality, "legend"))
        x += 40 + text_width(modality)
    return "".join(parts)
