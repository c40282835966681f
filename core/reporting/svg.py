"""Inline SVG: elements with escaped attributes, a titled figure, axes with readable ticks. Knows pixels, not runs.

Colours and fonts are classes of templates/report.css; a colour that depends on data is an attribute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import count

SERIES = ("#2563a8", "#d9772b", "#2f8f5b", "#8a4fa3", "#b8912a", "#5b6675", "#c2415a", "#3a9ca6")
"""Colours of series: apart for the common kinds of colour blindness, and readable on white."""

_NUMBERS = count(1)


def colour(index: int) -> str:
    """The colour of a series."""
    return SERIES[index % len(SERIES)]


def element(tag: str, content: str = "", **attributes: object) -> str:
    """One element. `content` is markup; attribute names lose a trailing "_" and turn "_" into "-"; None is left out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_attribute(value), quote=True)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>"


def text(x: float, y: float, content: str, css: str = "", anchor: str = "start", **attributes: object) -> str:
    """Text at a point; `anchor` is start, middle or end."""
    return element("text", escape(content), x=x, y=y, class_=css or None, text_anchor=anchor, **attributes)


def tooltip(content: str) -> str:
    """What a pointer that rests on the parent element shows; a screen reader reads it."""
    return element("title", escape(content))


def figure(width: float, height: float, title: str, description: str, parts: Sequence[str]) -> str:
    """A figure that scales with the page; title and description are its text for those who do not see it."""
    number = next(_NUMBERS)
    head = element("title", escape(title), id=f"figure-{number}") + element(
        "desc", escape(description), id=f"figure-{number}-text"
    )
    return element(
        "svg",
        head + "".join(parts),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        style=f"max-width:{width:g}px",
        role="img",
        aria_labelledby=f"figure-{number} figure-{number}-text",
        class_="figure",
    )


def text_width(content: str, size: float = 12.0, bold: bool = False) -> float:
    """About how many pixels a text needs in the report's fonts; rather too many than too few."""
    return (0.66 if bold else 0.6) * size * len(content)


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic map from values `low`..`high` to pixels `start`..`end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, 1e-300))
        share = 0.5 if high == low else (at - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values inside the range."""
        return _log_ticks(self.low, self.high) if self.log else nice_ticks(self.low, self.high, count)


def around(values: Sequence[float], start: float, end: float, *, zero: bool = False, log: bool = False) -> Axis:
    """An axis with some room around the values; `zero` makes it begin at 0."""
    low, high = min(values), max(values)
    if log:
        return Axis(low / 1.3, high * 1.3, start, end, log=True)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return Axis(0.0 if zero and low >= 0 else low - room, high + room, start, end)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` multiples of 1, 2, 2.5 or 5 times a power of ten inside low..high."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [at * step for at in range(first, last + 1)]


def tick_label(value: float) -> str:
    """A tick without needless zeros: `0.25`, `20`, `1.5k`, `2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:.4g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.0e}"


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(found) >= 3:
            return found
    return found


def _attribute(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
