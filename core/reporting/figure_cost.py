"""Accuracy against latency, the area of a disc being the size of the file: what does a point of accuracy cost?

Knows model rows. Only artefacts have a latency; the teacher's and the student's accuracy are lines across.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgefw.reporting.model_rows import ModelRow
from edgefw.reporting.numbers import megabytes, milliseconds, percent
from edgefw.reporting.svg import Axis, around, colour, element, figure, text, text_width, tick_label, tooltip

_WIDTH, _HEIGHT = 1000.0, 400.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 150.0, 44.0, 46.0


def cost_figure(rows: Sequence[ModelRow], modalities: Sequence[str]) -> str:
    """One disc per artefact and modality; empty text when no artefact has a latency and an accuracy."""
    timed = [row for row in rows if row.number("latency_ms_p50") and row.accuracy]
    if not timed:
        return ""
    latencies = [row.number("latency_ms_p50") or 0.0 for row in timed]
    across = around(latencies, _LEFT + 30, _WIDTH - _RIGHT, zero=True, log=max(latencies) > 10 * min(latencies))
    levels = [value for row in rows for value in row.accuracy.values()]
    up = around(levels, _HEIGHT - _BOTTOM, _TOP + 34)
    largest = max((row.number("bytes") or 0.0 for row in timed), default=0.0)
    parts = [_axes(across, up), _lines(rows, modalities, up)]
    for at, modality in enumerate(modalities):
        parts += [_disc(row, modality, colour(at), across, up, largest) for row in timed if modality in row.accuracy]
    parts += [_legend(modalities), _names(timed, across, up)]
    said = "; ".join(
        f"{row.model}: {milliseconds(row.number('latency_ms_p50'))}, {megabytes(row.number('bytes'))}, "
        + ", ".join(f"{name} {percent(value)}" for name, value in row.accuracy.items())
        for row in timed
    )
    return figure(_WIDTH, _HEIGHT, "Accuracy against latency, disc area is file size", said, parts)


def radius(size: float | None, largest: float) -> float:
    """Pixels: the largest file gets 17, area follows bytes, and nothing is too small to be seen."""
    return 6.0 if not size or not largest else max(4.0, 17.0 * math.sqrt(size / largest))


def _axes(across: Axis, up: Axis) -> str:
    parts = []
    for tick in up.ticks(5):
        y = up(tick)
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="rule"))
        parts.append(text(_LEFT - 8, y + 4, percent(tick, 0), "tick", "end"))
    for tick in across.ticks(6):
        x = across(tick)
        parts.append(element("line", x1=x, x2=x, y1=up.start, y2=up.start + 5, class_="axis"))
        parts.append(text(x, up.start + 20, tick_label(tick), "tick", "middle"))
    parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=up.start, y2=up.start, class_="axis"))
    parts.append(text(_WIDTH - _RIGHT, up.start + 38, "latency p50 at batch 1, ms", "tick", "end"))
    return "".join(parts)


def _lines(rows: Sequence[ModelRow], modalities: Sequence[str], up: Axis) -> str:
    """Accuracy of models without a latency, as dashed lines named at the right edge."""
    still = [row for row in rows if not row.number("latency_ms_p50")]
    named = [
        (up(row.accuracy[modality]), f"{row.model}, {modality}", colour(at))
        for row in still
        for at, modality in enumerate(modalities)
        if modality in row.accuracy
    ]
    parts, last = [], -math.inf
    for y, name, fill in sorted(named):
        last = max(y + 4, last + 13)
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, stroke=fill, class_="reference"))
        parts.append(text(_WIDTH - _RIGHT + 8, last, name, "tick"))
    return "".join(parts)


def _disc(row: ModelRow, modality: str, fill: str, across: Axis, up: Axis, largest: float) -> str:
    said = (
        f"{row.model}, {modality}: {percent(row.accuracy[modality])}, p50 {milliseconds(row.number('latency_ms_p50'))}, "
        f"{megabytes(row.number('bytes'))}"
    )
    place = {"cx": across(row.number("latency_ms_p50") or 0.0), "cy": up(row.accuracy[modality])}
    return element("circle", tooltip(said), **place, r=radius(row.number("bytes"), largest), fill=fill, class_="disc")


def _names(timed: Sequence[ModelRow], across: Axis, up: Axis) -> str:
    """Each artefact's name above its highest disc, and above other names that it would cover."""
    parts: list[str] = []
    taken: list[tuple[float, float, float]] = []
    for row in sorted(timed, key=lambda row: row.number("latency_ms_p50") or 0.0):
        name = f"{row.model} · {megabytes(row.number('bytes'))}"
        half = text_width(name, bold=True) / 2
        x = min(max(across(row.number("latency_ms_p50") or 0.0), _LEFT + half), _WIDTH - half)
        y = up(max(row.accuracy.values())) - 22
        while any(abs(y - other_y) < 14 and abs(x - other_x) < half + other for other_x, other_y, other in taken):
            y -= 2
        taken.append((x, y, half))
        parts.append(text(x, y, name, "value", "middle"))
    return "".join(parts)


def _legend(modalities: Sequence[str]) -> str:
    parts, x = [], _LEFT
    for at, modality in enumerate(modalities):
        parts.append(element("circle", cx=x + 6, cy=12, r=6, fill=colour(at), class_="disc"))
        parts.append(text(x + 18, 16.5, modality, "legend"))
        x += 40 + text_width(modality)
    return "".join(parts)
