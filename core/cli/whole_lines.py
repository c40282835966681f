"""Lines on standard output, each whole or not there: a disk that is full takes a part of one, and may have room again later."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys

import click


class WholeLines:
    """Writes line by line, past Python's buffer, which would write later what it could not write now.

    A line that was cut off is finished before the next one is begun. A terminal, which is never full, and an output that is no
    file of the system, such as a test's, are left to `click`.

    Attributes:
        finished: lines that were cut off, said to have failed, and finished later.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._encoder: codecs.IncrementalEncoder | None = None
        self.finished = 0

    @property
    def begun(self) -> bool:
        """Whether a line was cut off, and waits to be finished."""
        return bool(self._rest)

    def write(self, line: str) -> None:
        """Write a line.

        Raises:
            OSError: if not all of it could be written; a line that was begun will be finished, one that was not is dropped.
        """
        raw = _raw_output()
        if raw is None:
            click.echo(line)
            return
        self._finish(raw)
        data = self._encoded(line + os.linesep)
        self._rest = data
        try:
            self._go_on(raw)
        finally:
            if self._rest == data:  # not begun
                self._rest = b""

    def finish(self) -> None:
        """Finish a line that was cut off, if there is room by now."""
        with contextlib.suppress(OSError):
            if self._rest and (raw := _raw_output()) is not None:
                self._finish(raw)

    def _finish(self, raw: io.RawIOBase) -> None:
        if self._rest:
            self._go_on(raw)
            self.finished += 1

    def _encoded(self, text: str) -> bytes:
        """One stream, so that a mark of the byte order stands before the first line alone."""
        self._encoder = self._encoder or _encoder()
        return self._encoder.encode(text)

    def _go_on(self, raw: io.RawIOBase) -> None:
        while self._rest:
            count = raw.write(self._rest)
            if count is None:  # a pipe that does not wait
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self._rest = self._rest[count:]


def _raw_output() -> io.RawIOBase | None:
    """Standard output without its buffer, emptied before; None for a terminal, no file of the system, and none at all."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(raw, io.RawIOBase) or sys.stdout.isatty():
        return None
    sys.stdout.flush()
    return raw


def _encoder() -> codecs.IncrementalEncoder:
    """Of standard output, UTF-8 where that is ASCII (as `click` does); characters that it lacks are spelled out."""
    encoding = codecs.lookup(sys.stdout.encoding).name
    return codecs.getincrementalencoder("utf-8" if encoding == "ascii" else encoding)("backslashreplace")
