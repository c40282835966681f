"""A label pack on disk that may be replaced while frames are labelled: looked at once a second, taken when it fits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edgefw.errors import BundleError
from edgefw.runtime.label_pack import LabelPack, read_pack

LOOK_EVERY = 1.0
"""Seconds between two looks at the file."""
_GONE = 2
"""Looks in a row that do not find the file until that is said."""


class PackFile:
    """Reads one file, and watches it from then on.

    Args:
        path: the label pack.
        fitting: gives a pack back if it fits the encoder, else raises BundleError.

    Attributes:
        first: the pack that was there.

    Raises:
        BundleError: if there is none, or it does not fit.
    """

    def __init__(self, path: Path, fitting: Callable[[LabelPack], LabelPack]) -> None:
        self._path = path
        self._fitting = fitting
        self._mark = _mark(path)  # before it is read: what is written meanwhile is seen at the next look
        self.first = fitting(read_pack(path))
        self._taken = self.first.sha256
        self._next = LOOK_EVERY
        self._missed = 0

    def look(self, now: float) -> LabelPack | None:
        """The new pack, if it is another one than that in use, and fits; None most of the time.

        Args:
            now: seconds on any clock that begins at 0 and does not fall.

        Raises:
            BundleError: once for each new file that is refused, and once for a file that two looks did not find; the pack in use stays.
        """
        if now < self._next:
            return None
        self._next = now + LOOK_EVERY
        mark = _mark(self._path)
        self._count(mark is None)
        if mark is None or mark == self._mark:
            return None
        self._mark = mark
        pack = self._as_wide(self._fitting(read_pack(self._path)))
        return None if pack.sha256 == self._taken else pack

    def took(self, pack: LabelPack) -> None:
        """The pack that `look` gave is in use now; one that was refused is not."""
        self._taken = pack.sha256

    def _count(self, missing: bool) -> None:
        """One look without the file is a program that replaces it."""
        self._missed = self._missed + 1 if missing else 0
        if self._missed == _GONE:
            raise BundleError(f"{self._path}: is gone, or cannot be reached. Put it, or another one, there.")

    def _as_wide(self, pack: LabelPack) -> LabelPack:
        if pack.width != self.first.width:
            raise BundleError(
                f"{self._path}: its vectors are {pack.width} wide, those of the pack in use {self.first.width}. "
                "Build one for this bundle with `edgefw labels build`."
            )
        return pack


def _mark(path: Path) -> tuple[int, ...] | None:
    """What changes with the file, its permissions among it."""
    try:
        state = os.stat(path)
    except OSError:
        return None  # gone for a moment, while another program replaces it
    return (state.st_size, state.st_mtime_ns, state.st_ino, state.st_mode, state.st_uid, state.st_gid)
