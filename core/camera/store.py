"""Kept frames on disk: a picture each, and one line of metadata per picture in `frames.jsonl`.

A picture is written beside its place, made durable, and renamed; then its line is appended and made durable. Whatever
moment the power goes, the next start finds pictures that are whole and lines that have their picture: what was between the two
is removed, which is the frame in flight at most. Where no line is left, nothing tells such a picture from one whose line was
taken away, and it stays. A full disk, one that is gone, and a used-up budget drop frames and count them;
nothing that was stored is touched. Others may take pictures and lines away while frames are stored. One labeller at a time has a
store.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from edgefw.camera.folder_lock import FolderLock
from edgefw.camera.image_endings import fitting_ending
from edgefw.errors import DataError

LINES = "frames.jsonl"
_PART = ".part"
_OWN = re.compile(r"\d{8}T\d{6}\.\d{3}Z-\d{6,}\.\w+")
"""Names that this module gives; other files in the folder are left alone."""

RECOUNT_EVERY = 10.0
"""Seconds after which a used-up budget is counted again: an uploader may have taken pictures away."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Stored = Literal["stored", "over budget", "disk full", "not writable"]


class FrameStore:
    """A folder of kept frames; what an interrupted run left is put right when it is opened.

    Args:
        folder: made if it is missing.
        budget_mb: pictures may take so many megabytes (10^6 bytes) together; None: no limit.

    Raises:
        DataError: if the folder cannot be used, or another labeller uses it.
    """

    def __init__(self, folder: Path, budget_mb: float | None = None) -> None:
        self.folder = folder
        self.limit(budget_mb)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(folder)
            self._lines = folder / LINES
            _cut(self._lines)
            known = [line["file"] for line in read_lines(folder) if _OWN.fullmatch(line["file"])]
            self.removed = _put_right(folder, known)
            self._lines.touch()
            _make_durable(folder)
            own = [path.name for path in folder.iterdir() if _OWN.fullmatch(path.name)]
            self.bytes = _bytes_of_pictures(folder)
        except OSError as error:
            raise DataError(f"{folder}: frames cannot be stored here ({error.strerror or error}).") from error
        self._number = 1 + max(map(_number_of, [*known, *own]), default=-1)
        self._next_count = -math.inf

    def limit(self, budget_mb: float | None) -> None:
        """From now on pictures may take so many megabytes together; None: no limit."""
        self._budget = None if budget_mb is None else int(budget_mb * 1e6)

    def close(self) -> None:
        """Let another labeller have the folder."""
        self._lock.release()

    def kept(self, since: datetime) -> Iterator[tuple[datetime, tuple[str, ...]]]:
        """(time, labels that held) of what was stored from a moment on, former runs included; read line by line.

        Lines that somebody took away, or that cannot be read, are not told.
        """
        with contextlib.suppress(OSError), self._lines.open("rb") as file:
            for line in map(_parsed, file):
                moment = None if line is None else _moment(line.get("time"))
                if line is not None and moment is not None and moment > since:
                    yield moment, tuple(name for name in line.get("holding") or () if isinstance(name, str))

    def add(self, picture: bytes, ending: str, time: datetime, about: Mapping[str, Any]) -> Stored:
        """Store one picture and its line.

        Args:
            picture: the encoded image.
            ending: of its file name, such as "jpg"; what cannot be one gives way to the image's own format.
            time: when the frame was seen, in UTC.
            about: what else the line says; `file`, `time`, `bytes` and `sha256` come first.

        Returns:
            "stored", or why nothing was: over the budget, the disk full, or (unplugged, read-only) not writable.
        """
        stamp = time.strftime("%Y%m%dT%H%M%S.") + f"{time.microsecond // 1000:03d}Z"
        name = f"{stamp}-{self._number:06d}.{fitting_ending(picture, ending)}"
        facts = {"file": name, "time": time.isoformat(), "bytes": len(picture)}
        line = json.dumps({**facts, "sha256": hashlib.sha256(picture).hexdigest(), **about})
        try:
            if self._is_over(len(picture)):
                return "over budget"
            self._write(self.folder / name, picture, line)
        except OSError as error:
            return "disk full" if error.errno in FULL else "not writable"
        self._number += 1
        self.bytes += len(picture)
        return "stored"

    def _is_over(self, more: int) -> bool:
        """Whether so many more bytes are beyond the budget, pictures that were taken away meanwhile left out."""
        if self._budget is None or self.bytes + more <= self._budget:
            return False
        if clock.monotonic() >= self._next_count:
            self._next_count = clock.monotonic() + RECOUNT_EVERY
            self.bytes = _bytes_of_pictures(self.folder)
        return self.bytes + more > self._budget

    def _write(self, path: Path, picture: bytes, line: str) -> None:
        """The picture and its line, or an OSError and nothing."""
        length = _length_of_lines(self._lines)
        try:
            self._write_picture(path, picture)
            self._append(line)
        except OSError:
            self._undo(path, length)
            raise

    def _write_picture(self, path: Path, picture: bytes) -> None:
        part = path.with_name(path.name + _PART)
        with part.open("wb") as file:
            file.write(picture)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _make_durable(self.folder)

    def _append(self, line: str) -> None:
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _undo(self, path: Path, length: int) -> None:
        """After a write that failed: no half line, no half picture; this needs no space."""
        with contextlib.suppress(OSError):
            os.truncate(self._lines, min(length, self._lines.stat().st_size))  # it may be a new file by now
        with contextlib.suppress(OSError):
            path.with_name(path.name + _PART).unlink()
        with contextlib.suppress(OSError):
            path.unlink()


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The metadata of every stored frame, in order; an unfinished last line is passed over."""
    path = folder / LINES
    found = [_parsed(line) for line in path.read_bytes().splitlines()] if path.is_file() else []
    return [line for line in found if line is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("file"), str) else None


def _moment(text: Any) -> datetime | None:
    """A time with its zone, as `add` writes it; None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else None


def _make_durable(folder: Path) -> None:
    """Names of new and renamed files survive a power cut only once their folder is on the disk."""
    try:
        place = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return  # Windows opens no folders
    try:
        os.fsync(place)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot do this for folders
            raise
    finally:
        os.close(place)


def _cut(path: Path) -> None:
    """Cut off a last line that was not finished."""
    data = path.read_bytes() if path.is_file() else b""
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def _length_of_lines(path: Path) -> int:
    """Bytes of whole lines. A file that was taken away is made again now: before a picture, whose line it is to hold."""
    with path.open("a+b") as file:
        length = file.tell()
        file.seek(max(0, length - 1))
        if file.read(1) in (b"", b"\n"):
            return length
    _cut(path)  # a half line that could not be undone
    return path.stat().st_size


def _bytes_of_pictures(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        if _OWN.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # taken away at this moment
                total += path.stat().st_size
    return total


def _number_of(name: str) -> int:
    return int(name.split("-")[1].split(".")[0])


def _put_right(folder: Path, known: Sequence[str]) -> int:
    """Remove unfinished files, and the picture that was in flight: the one after the last line. How many.

    Numbers go on by one from line to line, so that one is the only picture beyond the last line and has the next number.
    Anything else is no remains of a kill, but somebody took lines away: pictures stay. Without any line nothing is known.
    """
    names = [path.name for path in folder.iterdir()]
    parts = [name for name in names if name.endswith(_PART) and _OWN.fullmatch(name.removesuffix(_PART))]
    last = max(map(_number_of, known), default=-1)
    beyond = [name for name in names if _OWN.fullmatch(name) and _number_of(name) > last]
    in_flight = known and len(beyond) == 1 and _number_of(beyond[0]) == last + 1
    removed = [*parts, *(beyond if in_flight else [])]
    for name in removed:
        (folder / name).unlink()
    return len(removed)
