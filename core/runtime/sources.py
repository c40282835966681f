"""Image files from what a user names: files, folders and glob patterns, one after the other.

Names are sorted, so that two runs see the same order; of a folder one level's names are in memory, of a pattern all
that match. A file that is named is always tried; in folders and patterns only names that look like images are. It knows
names; whether a file is an image, the modality decides.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgefw.errors import DataError

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".npy", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Names that look like images; capitals do not matter."""


def find_images(sources: Sequence[str]) -> Iterator[Path]:
    """The image files of all sources, each source in the order given, names sorted within a folder; a file comes once.

    Args:
        sources: files, folders (searched through all levels; hidden ones are passed over), or glob patterns (`**`).

    Raises:
        DataError: when a source does not exist or holds no image; raised when its turn comes.
    """
    seen: set[str] = set()
    for source in sources:
        empty = True
        for path in _expand(source):
            empty = False
            if len(sources) == 1:
                yield path  # no name comes twice, and none is remembered
            elif (name := os.path.abspath(path)) not in seen:
                seen.add(name)
                yield path
        if empty:
            raise DataError(f"{source}: no image here. Names that count: {', '.join(sorted(SUFFIXES))}.")


def is_there(source: str) -> bool:
    """Whether a source exists as it is written: a file, a folder, or a pattern that matches an image."""
    return _exists(source) or (_is_pattern(source) and next(_pattern(source), None) is not None)


def check_sources(sources: Sequence[str]) -> None:
    """Refuse sources that do not exist before any work is done.

    Raises:
        DataError: naming the first one.
    """
    for source in sources:
        if not _is_pattern(source) and not _exists(source):
            raise DataError(f"{source or repr(source)}: there is no such file or folder.")
        if _is_pattern(source) and next(_pattern(source), None) is None:
            raise DataError(f"{source}: the pattern matches no image.")


def _expand(source: str) -> Iterator[Path]:
    if _exists(source):
        path = Path(os.path.expanduser(source))
        return _walk(path) if path.is_dir() else iter((path,))
    if _is_pattern(source):
        return _pattern(source)
    raise DataError(f"{source or repr(source)}: there is no such file or folder.")


def _exists(source: str) -> bool:
    try:
        return source != "" and Path(os.path.expanduser(source)).exists()
    except (OSError, ValueError):  # names that are too long, or hold a zero byte
        return False


def _is_pattern(source: str) -> bool:
    return glob.has_magic(source) and not _exists(source)


def _pattern(source: str) -> Iterator[Path]:
    for name in sorted(glob.iglob(str(Path(os.path.expanduser(source))), recursive=True)):
        path = Path(name)
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror or error}).") from error
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)
        elif entry.suffix.lower() in SUFFIXES and entry.is_file():
            yield entry
