"""Numbers as a person reads them: percent, milliseconds, megabytes. A number that is absent is a dash."""

from __future__ import annotations

import math

ABSENT = "–"


def known(value: object) -> float | None:
    """The value as a float, or None when it is absent, not a number, or no number at all."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def percent(value: object, digits: int = 1) -> str:
    """`91.2 %` of 0.912."""
    number = known(value)
    return ABSENT if number is None else f"{100 * number:.{digits}f} %"


def points(value: object) -> str:
    """A difference of two fractions in percentage points with its sign, `−1.4` of -0.014."""
    number = known(value)
    if number is None:
        return ABSENT
    rounded = round(100 * number, 1)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else '±'}{abs(rounded):.1f}"


def milliseconds(value: object) -> str:
    """`2.41 ms`: three significant digits."""
    number = known(value)
    return ABSENT if number is None else f"{significant(number)} ms"


def megabytes(size: object) -> str:
    """Bytes as `3.21 MB`, 10^6 bytes each."""
    number = known(size)
    return ABSENT if number is None else f"{significant(number / 1e6)} MB"


def mebibytes(value: object) -> str:
    """MiB as `10.7 MiB`, 2^20 bytes each."""
    number = known(value)
    return ABSENT if number is None else f"{significant(number)} MiB"


def significant(number: float, digits: int = 3) -> str:
    """`0.00123`, `2.41`, `1234`: so many significant digits, no exponent between 1e-4 and 1e15."""
    if number == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    return f"{number:.{min(decimals, 12)}f}" if 1e-4 <= abs(number) < 1e15 else f"{number:.{digits - 1}e}"


def plain(value: object) -> str:
    """Any value for a cell: numbers with at most four significant digits, the rest as text."""
    if isinstance(value, bool) or value is None:
        return ABSENT if value is None else str(value).lower()
    number = known(value)
    if number is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{number:.4g}" if number == 0 or 1e-4 <= abs(number) < 1e4 else significant(number, 4)
