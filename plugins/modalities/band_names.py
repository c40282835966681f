"""Names of spectral bands in the order in which files hold them, and how a recipe's band finds its place.

A band is a name ("B12", "b8a"; case and leading zeros do not matter) or a number that counts from 1, as GDAL does.
Sources: ESA, Sentinel-2 User Handbook, 2015, table 1 (bands); Helber et al. 2019, EuroSAT, arXiv:1709.00029, whose
13-band files hold B8A last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal

_VISIBLE_TO_NIR = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8")
BAND_ORDERS: dict[str, tuple[str, ...]] = {
    "eurosat": (*_VISIBLE_TO_NIR, "B9", "B10", "B11", "B12", "B8A"),
    "sentinel-2-l1c": (*_VISIBLE_TO_NIR, "B8A", "B9", "B10", "B11", "B12"),
    "sentinel-2-l2a": (*_VISIBLE_TO_NIR, "B8A", "B9", "B11", "B12"),
}
"""Name of an order -> the bands of a file in that order."""
Order = Literal["eurosat", "sentinel-2-l1c", "sentinel-2-l2a"]
Band = int | str


def in_order(names: Order | Sequence[str] | None) -> tuple[str, ...] | None:
    """The names of a file's bands; None where nobody said."""
    if names is None:
        return None
    return BAND_ORDERS[names] if isinstance(names, str) else tuple(names)


def position(band: Band, names: Sequence[str] | None) -> int:
    """Index of a band in the file, from 0.

    Raises:
        ValueError: if there is no such band, or names are unknown.
    """
    if isinstance(band, int):
        last = len(names) if names else None
        if band < 1 or (last is not None and band > last):
            raise ValueError(f"band {band}: bands count from 1" + (f" to {last}" if last else ""))
        return band - 1
    if names is None:
        raise ValueError(f"band '{band}': names says nothing about the file's bands; set names, or count bands from 1")
    plain = [_plain(name) for name in names]
    if _plain(band) not in plain:
        close = get_close_matches(band, names, n=3) or list(names)
        raise ValueError(f"there is no band '{band}'. Close: {', '.join(close)}")
    return plain.index(_plain(band))


def refuse_booleans(bands: object) -> object:
    """Bands as a recipe gives them, unchanged; `true` would count as band 1.

    Raises:
        ValueError: if one of them is true or false.
    """
    given = bands if isinstance(bands, list | tuple) else ()
    wrong = [f"{str(band).lower()} (entry {at})" for at, band in enumerate(given) if isinstance(band, bool)]
    if wrong:
        raise ValueError(f"{wrong[0]} is no band; give its name, or its number from 1")
    return bands


def refuse_namesakes(names: Sequence[str] | None) -> None:
    """Say no to a file's band that has the name of another one, by whatever spelling: only the first could be chosen.

    Raises:
        ValueError: if two names are one.
    """
    plain = [_plain(name) for name in names or ()]
    for at, name in enumerate(plain):
        first = plain.index(name)
        if first != at:
            raise ValueError(
                f"names[{at}]: {(names or ())[at]} is names[{first}] again; give every band of the file its own name"
            )


def refuse_repeated(bands: Sequence[Band], positions: Sequence[int]) -> None:
    """Say no to a band that is chosen twice, by whatever spelling.

    Raises:
        ValueError: if two bands have one position.
    """
    for at, band in enumerate(bands):
        first = positions.index(positions[at])
        if first != at:
            raise ValueError(
                f"bands[{at}]: {band} is the band of bands[{first}] ({bands[first]}); name each band once. To "
                "give the student one band in every channel, name it alone with take: replicate"
            )


def _plain(name: str) -> str:
    """B08A and b8a are one band."""
    return re.sub(r"^B0+(?=\d)", "B", name.strip().upper())
