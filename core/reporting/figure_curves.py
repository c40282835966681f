"""Line figures: curves over steps. Used for losses and for what was validated; knows neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgefw.reporting.curves import Curve, PhaseCurves, smoothed, thinned
from edgefw.reporting.numbers import significant
from edgefw.reporting.svg import Axis, around, colour, element, figure, text, text_width, tick_label, tooltip

_WIDTH, _HEIGHT = 520.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 44.0, 40.0


@dataclass(frozen=True)
class Line:
    """One curve with a name; `style` is "solid", "faint" (raw values behind a smoothed curve) or "dashed"."""

    name: str
    curve: Curve
    colour: str
    style: str = "solid"
    marked: bool = False


def loss_figure(curves: PhaseCurves) -> str:
    """The loss in training (raw and smoothed), its parts, and the loss in validation."""
    lines = []
    if curves.loss:
        smooth = smoothed(curves.loss)
        if smooth is not curves.loss:
            lines.append(Line("", curves.loss, colour(0), "faint"))
        lines.append(Line("training", smooth, colour(0), marked=len(smooth) < 3))
    if curves.validation_loss:
        lines.append(Line("validation", curves.validation_loss, colour(1), marked=True))
    for at, (name, curve) in enumerate(curves.losses.items()):
        lines.append(Line(name, smoothed(curve), colour(at + 2), "dashed"))
    return line_figure(lines, f"Loss of phase {curves.phase}", "loss", logarithmic=_spans_decades(lines))


def validation_figure(curves: PhaseCurves) -> str:
    """What was validated beside the loss."""
    named = sorted(curves.validation.items())
    lines = [Line(name, curve, colour(at), marked=True) for at, (name, curve) in enumerate(named)]
    return line_figure(lines, f"Validation of phase {curves.phase}", "fraction", logarithmic=False)


def line_figure(lines: Sequence[Line], title: str, unit: str, logarithmic: bool) -> str:
    """Lines with axes, grid and legend; empty text when no line has a point."""
    drawn = [line for line in lines if line.curve]
    if not drawn:
        return ""
    steps = [step for line in drawn for step, _ in line.curve]
    values = [value for line in drawn for _, value in line.curve]
    across = Axis(min(0.0, *steps), max(*steps, 1.0), _LEFT, _WIDTH - _RIGHT)
    bottom, top = _HEIGHT - _BOTTOM, _TOP
    up = around(values, bottom, top, zero=min(values) < 0.35 * max(values), log=logarithmic)
    parts = [_axes(across, up, unit), *(_path(line, across, up) for line in drawn), _legend(drawn)]
    return figure(_WIDTH, _HEIGHT, title, "; ".join(_described(line) for line in drawn if line.name), parts)


def _spans_decades(lines: Sequence[Line]) -> bool:
    values = [value for line in lines for _, value in line.curve]
    return bool(values) and min(values) > 0 and max(values) / min(values) > 50


def _axes(across: Axis, up: Axis, unit: str) -> str:
    parts = []
    for tick in up.ticks(5):
        y = up(tick)
        parts.append(element("line", x1=across.start, x2=across.end, y1=y, y2=y, class_="rule"))
        parts.append(text(across.start - 8, y + 4, tick_label(tick), "tick", "end"))
    for tick in across.ticks(6):
        parts.append(text(across(tick), up.start + 18, tick_label(tick), "tick", "middle"))
    parts.append(element("line", x1=across.start, x2=across.end, y1=up.start, y2=up.start, class_="axis"))
    parts.append(text(across.end, up.start + 34, "step", "tick", "end"))
    parts.append(text(across.start - 8, up.end - 12, unit, "tick", "end"))
    return "".join(parts)


def _path(line: Line, across: Axis, up: Axis) -> str:
    places = [(across(step), up(value)) for step, value in thinned(line.curve)]
    path = element(
        "path",
        tooltip(_described(line)) if line.name else "",
        d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places),
        class_=f"line {line.style}",
        stroke=line.colour,
    )
    if not line.marked:
        return path
    dots = (
        element("circle", tooltip(f"{line.name}, step {step:g}: {significant(value, 4)}"), cx=across(step),
                cy=up(value), r=3, fill=line.colour)
        for step, value in thinned(line.curve, 60)
    )  # fmt: skip
    return path + "".join(dots)


def _legend(lines: Sequence[Line]) -> str:
    parts, x, y = [], _LEFT + 22, 14.0
    for line in lines:
        if not line.name:
            continue
        if x + 34 + text_width(line.name) > _WIDTH:
            x, y = _LEFT + 22, y + 16
        parts.append(
            element("line", x1=x, x2=x + 18, y1=y - 4, y2=y - 4, stroke=line.colour, class_=f"line {line.style}")
        )
        parts.append(text(x + 24, y, line.name, "legend"))
        x += 44 + text_width(line.name)
    return "".join(parts)


def _described(line: Line) -> str:
    (first, start), (last, end) = line.curve[0], line.curve[-1]
    return f"{line.name}: {significant(start, 4)} at step {first:g}, {significant(end, 4)} at step {last:g}"
