"""Frames of a folder that another program writes images into: each new file once, as it becomes whole.

A file is taken once it has not changed from one look to the next, and decodes; one that does not decode, after a few looks
at which it stayed as it was, counts as unreadable, until it does. A file that changes after it was taken is taken
again. What was there at the start is taken too, in the order of the names.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgefw.camera.frames import Frame
from edgefw.errors import DataError
from edgefw.runtime.sources import SUFFIXES

if TYPE_CHECKING:
    from edgefw.contracts.modality import Modality

LOOK_EVERY = 0.2
"""Seconds between two looks at the folder."""

TRIES = 5
"""So often a file that does not decode is looked at again, while it may still be written."""

Mark = tuple[int, int]
"""Size and time of change of a file."""


@dataclass
class _Seen:
    """What is known of a file that is there: how it was at the last look, and what became of it."""

    mark: Mark
    tries: int = 0
    done: bool = False
    unreadable: bool = False


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
        self._seen: dict[str, _Seen] = {}
        self._unreadable = 0

    def frames(self) -> Iterator[Frame]:
        """New images, in the order of their names, until closed."""
        began, number = time.monotonic(), 0
        while not self._closed.is_set():
            for path in self._settled():
                frame = self._frame(path, number, time.monotonic() - began)
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

    def _settled(self) -> list[Path]:
        """Files to be taken: new or changed, and as they were at the look before."""
        try:
            paths = sorted(path for path in self._folder.iterdir() if path.suffix.lower() in SUFFIXES)
        except OSError:
            return []  # a folder on a stick that was pulled: it may come back
        marks = {path: _mark(path) for path in paths if not path.name.startswith(".")}
        names = {path.name for path in marks}
        self._seen = {name: seen for name, seen in self._seen.items() if name in names}  # what is gone is forgotten
        return [path for path, mark in marks.items() if mark is not None and self._is_settled(path.name, mark)]

    def _is_settled(self, name: str, mark: Mark) -> bool:
        seen = self._seen.setdefault(name, _Seen(mark=(-1, -1)))
        if seen.mark != mark:
            seen.mark, seen.tries, seen.done = mark, 0, False
            return False
        return not seen.done

    def _frame(self, path: Path, number: int, seconds: float) -> Frame | None:
        seen = self._seen[path.name]
        try:
            data = path.read_bytes()
            values = self._modality.decode(data, str(path))
        except (OSError, DataError):
            self._failed(seen)
            return None
        if _mark(path) != seen.mark:
            return None  # it changed while it was read; the next looks will tell
        self._unreadable -= seen.unreadable
        seen.done, seen.unreadable = True, False
        return Frame(
            number=number,
            seconds=seconds,
            time=datetime.now(UTC),
            values=values,
            where=str(path),
            data=data,
            ending=path.suffix.lower().lstrip("."),
        )

    def _failed(self, seen: _Seen) -> None:
        seen.tries += 1
        if seen.tries >= TRIES:
            self._unreadable += not seen.unreadable
            seen.done = seen.unreadable = True


def _mark(path: Path) -> Mark | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return (state.st_size, state.st_mtime_ns)
