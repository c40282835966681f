"""Small bar figures: kept and left-out samples by class or confidence, seconds by stage. Knows names and numbers."""

from __future__ import annotations

from collections.abc import Sequence

from edgefw.reporting.numbers import percent
from edgefw.reporting.svg import Axis, colour, element, figure, nice_ticks, text, text_width, tick_label, tooltip

_WIDTH = 520.0
_ROW = 20.0


def class_figure(names: Sequence[str], kept: Sequence[int], seen: Sequence[int], title: str) -> str:
    """Horizontal bars: how many samples of each class were kept, of how many."""
    left = 20 + max(text_width(name) for name in names)
    axis = Axis(0.0, float(max(*seen, 1)), left, _WIDTH - 80)
    parts = []
    for at, (name, chosen, all_of_it) in enumerate(zip(names, kept, seen, strict=True)):
        y = 6 + at * _ROW
        said = tooltip(f"{name}: {chosen} of {all_of_it} kept")
        parts.append(text(left - 8, y + 12, name, "tick", "end"))
        parts.append(element("rect", said, x=left, y=y, width=axis(all_of_it) - left, height=14, class_="left-out"))
        parts.append(element("rect", said, x=left, y=y, width=axis(chosen) - left, height=14, fill=colour(0)))
        parts.append(text(axis(all_of_it) + 6, y + 11.5, f"{chosen} of {all_of_it}", "tick"))
    described = "; ".join(f"{name} {chosen} of {n}" for name, chosen, n in zip(names, kept, seen, strict=True))
    return figure(_WIDTH, 12 + len(names) * _ROW, title, described, parts)


def histogram_figure(edges: Sequence[float], kept: Sequence[int], dropped: Sequence[int], title: str) -> str:
    """Stacked columns: kept (blue) and left-out (grey) samples in bins of confidence."""
    height, top, bottom, left = 220.0, 14.0, 34.0, 50.0
    across = Axis(edges[0], edges[-1], left, _WIDTH - 12)
    up = Axis(0.0, float(max([a + b for a, b in zip(kept, dropped, strict=True)] + [1])), height - bottom, top)
    parts = []
    for tick in nice_ticks(0.0, up.high, 4):
        parts.append(element("line", x1=left, x2=across.end, y1=up(tick), y2=up(tick), class_="rule"))
        parts.append(text(left - 6, up(tick) + 4, tick_label(tick), "tick", "end"))
    for at, (chosen, rest) in enumerate(zip(kept, dropped, strict=True)):
        x, width = across(edges[at]) + 0.5, across(edges[at + 1]) - across(edges[at]) - 1
        said = tooltip(f"{edges[at]:.2f} to {edges[at + 1]:.2f}: {chosen} kept, {rest} left out")
        y, middle = up(chosen + rest), up(rest)
        parts.append(element("rect", said, x=x, y=middle, width=width, height=up.start - middle, class_="left-out"))
        parts.append(element("rect", said, x=x, y=y, width=width, height=middle - y, fill=colour(0)))
    for tick in across.ticks(5):
        parts.append(text(across(tick), up.start + 16, tick_label(tick), "tick", "middle"))
    parts.append(text(across.end, height - 4, "confidence of the teacher", "tick", "end"))
    described = f"{sum(kept)} samples kept, {sum(dropped)} left out."
    return figure(_WIDTH, height, title, described, parts)


def share_figure(names: Sequence[str], values: Sequence[float], labels: Sequence[str], title: str) -> str:
    """One bar cut into shares of the whole, with a legend below."""
    width, total = 1000.0, sum(values) or 1.0
    parts, x, legend_x, legend_y = [], 0.0, 0.0, 54.0
    for at, (name, value, label) in enumerate(zip(names, values, labels, strict=True)):
        piece = width * value / total
        said = tooltip(f"{name}: {label}, {percent(value / total, 0)}")
        parts.append(element("rect", said, x=x, y=4, width=max(piece - 1, 0.5), height=26, fill=colour(at)))
        needed = 60 + text_width(f"{name} {label}")
        if legend_x + needed > width:
            legend_x, legend_y = 0.0, legend_y + 18
        parts.append(element("rect", x=legend_x, y=legend_y - 10, width=11, height=11, fill=colour(at), rx=2))
        parts.append(text(legend_x + 16, legend_y, f"{name} {label}", "legend"))
        x, legend_x = x + piece, legend_x + needed
    described = "; ".join(f"{name} {label}" for name, label in zip(names, labels, strict=True))
    return figure(width, legend_y + 10, title, described, parts)
