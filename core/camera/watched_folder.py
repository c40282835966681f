"""Frames of a folder that another program writes images into: each new file once, as it becomes whole.

A file is taken once it decodes; one that does not, after a few looks, is counted as unreadable. A file that changes
afterwards is taken again. What was there at the start is taken too, in the order of the names.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgefw.camera.frames import Frame
from edgefw.errors import DataError
from edgefw.runtime.sources import SUFFIXES

if TYPE_CHECKING:
    import os

    from edgefw.contracts.modality import Modality

LOOK_EVERY = 0.2
"""Seconds between two looks at the folder."""

TRIES = 5
"""So often a file that does not decode is looked at again, while it may still be written."""


class WatchedFolder:
    """A folder, looked at again and again.

    Args:
        folder: must exist.
        modality: decodes its files.
        every: seconds between two looks.

    Raises:
        DataError: if there is no such folder.
    """

    live = False  # files wait

    def __init__(self, folder: Path, modality: Modality, every: float = LOOK_EVERY) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder to watch.")
        self._folder = folder
        self._modality = modality
        self._every = every
        self._closed = threading.Event()
        self._done: dict[str, tuple[int, int]] = {}  # name -> size and time of the file that was taken
        self._tries: dict[str, int] = {}
        self._unreadable = 0

    def frames(self) -> Iterator[Frame]:
        """New images, in the order of their names, until closed."""
        began, number = time.monotonic(), 0
        while not self._closed.is_set():
            for entry in self._new():
                frame = self._frame(entry, number, time.monotonic() - began)
                if frame is not None:
                    yield frame
                    number += 1
                if self._closed.is_set():
                    return
            self._closed.wait(self._every)

    def close(self) -> None:
        """End `frames` at its next step."""
        self._closed.set()

    def notes(self) -> dict[str, int]:
        """How many files could not be read."""
        return {"unreadable": self._unreadable} if self._unreadable else {}

    def _new(self) -> list[Path]:
        try:
            paths = sorted(path for path in self._folder.iterdir() if path.suffix.lower() in SUFFIXES)
        except OSError:
            return []  # a folder on a stick that was pulled: it may come back
        names = {path.name for path in paths}
        self._done = {name: mark for name, mark in self._done.items() if name in names}  # what is gone is forgotten
        return [path for path in paths if not path.name.startswith(".") and self._done.get(path.name) != _mark(path)]

    def _frame(self, path: Path, number: int, seconds: float) -> Frame | None:
        mark = _mark(path)
        try:
            data = path.read_bytes()
            values = self._modality.decode(data, str(path))
        except (OSError, DataError):
            self._tries[path.name] = self._tries.get(path.name, 0) + 1
            if self._tries[path.name] >= TRIES:
                self._unreadable += 1
                self._take(path.name, mark)
            return None
        self._take(path.name, mark)
        return Frame(
            number=number,
            seconds=seconds,
            time=datetime.now(UTC),
            values=values,
            where=str(path),
            data=data,
            ending=path.suffix.lower().lstrip("."),
        )

    def _take(self, name: str, mark: tuple[int, int]) -> None:
        self._done[name] = mark
        self._tries.pop(name, None)


def _mark(path: Path) -> tuple[int, int]:
    try:
        state: os.stat_result = path.stat()
    except OSError:
        return (-1, -1)
    return (state.st_size, state.st_mtime_ns)
