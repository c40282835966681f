"""The files below a folder, as data sets list them: in any depth, hidden ones left out, no circle followed.

It knows names; it opens no file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgefw.errors import DataError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".npy")
"""What an image file may end with, unless a recipe says otherwise."""


def files_below(root: Path) -> Iterator[str]:
    """Paths below `root` with forward slashes, links followed but never in a circle, hidden names left out.

    Raises:
        DataError: if a folder cannot be read.
    """
    yield from _walk(str(root), "", frozenset())


def printable(text: str) -> str:
    """A file name as UTF-8 has it; bytes that are none become replacement characters."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        entries = [] if here in above else [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{printable(folder)}: the folder cannot be read ({error.strerror or error}).") from error
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {here})
        else:
            yield f"{prefix}{entry.name}"
