"""Formats of a manifest: which one is written, which are read, and how an older document becomes the newest.

    1    the first one
    2    adds `reference`, `maps`, `folded` and an artefact's `source`, and artefacts of several inputs

A reader refuses keys that it does not know, so a new key is a new format, with a step from the one before it. A reader of
format 1 alone says so of a bundle of format 2, and names no key. Bundles that were made between the two hold keys of 2 and
say 1; the step keeps them. It knows numbers and keys; what they mean, `edgefw.runtime.manifest` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgefw.errors import BundleError

FORMAT = 2
"""What is written."""


def _from_1(document: dict[str, Any]) -> dict[str, Any]:
    """What format 1 does not say was not there: no reference answers, no maps, no folded files, no sources."""
    return {"reference": None, "maps": [], "folded": [], **document, "format": 2}


_STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
"""Format -> the step to the next one."""


def in_newest_format(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The document as this edgefw would have written it.

    Raises:
        BundleError: if its format is newer than this edgefw, or none.
    """
    stated, newest = document.get("format"), dict(document)
    readable = " and ".join(str(number) for number in (*_STEPS, FORMAT))
    if type(stated) is not int or stated < min(_STEPS):
        raise BundleError(f"{where}: bundle format {stated!r}; this edgefw reads {readable}. Copy the bundle again.")
    if stated > FORMAT:
        raise BundleError(
            f"{where}: made by a newer edgefw (bundle format {stated}); this one reads {readable}. Upgrade: "
            "pip install --upgrade edgefw"
        )
    for number in range(stated, FORMAT):
        newest = _STEPS[number](newest)
    return newest
