"""What a person sees while something runs: a bar with ETA on a terminal, plain lines elsewhere.

Everything goes to stderr, so that stdout holds results only. It knows counts and numbers, not what they mean.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichBars
    from rich.progress import TaskID

EVERY_S = 10.0
"""Seconds between plain lines of one bar."""


class Bar(Protocol):
    """One counted piece of work."""

    def update(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """So many units are done; `values` are shown beside the count. Cheap enough to be called every step."""
        ...


class Progress(Protocol):
    """Says what is going on."""

    def say(self, text: str) -> None:
        """One line that stays."""
        ...

    def bar(self, label: str, total: int, start: int = 0) -> AbstractContextManager[Bar]:
        """A context manager that gives a `Bar` of `total` units, of which `start` are done."""
        ...


def make_progress(stream: IO[str] | None = None) -> Progress:
    """Bars if the stream (default: stderr) is a terminal, lines if it is not."""
    stream = sys.stderr if stream is None else stream
    return TerminalProgress(stream) if stream.isatty() else PlainProgress(stream)


class SilentProgress:
    """Says nothing: for all processes but the first."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def bar(self, label: str, total: int, start: int = 0) -> Iterator[Bar]:
        """A bar that shows nothing."""
        yield _SilentBar()


class PlainProgress:
    """Lines for log files: one when a bar ends, and one every `every_s` seconds until then."""

    def __init__(self, stream: IO[str], every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._every_s, self._clock = stream, every_s, clock

    def say(self, text: str) -> None:
        """One line, written at once."""
        self._stream.write(text + "\n")
        self._stream.flush()

    @contextmanager
    def bar(self, label: str, total: int, start: int = 0) -> Iterator[Bar]:
        """A bar of lines."""
        bar = _PlainBar(self.say, label, total, start, self._every_s, self._clock)
        yield bar
        bar.last_line()


class TerminalProgress:
    """A live bar with speed, ETA and values; it vanishes when the work is done, and a line stays."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False)

    def say(self, text: str) -> None:
        """One line above the live bar."""
        self._console.print(text, markup=False)

    @contextmanager
    def bar(self, label: str, total: int, start: int = 0) -> Iterator[Bar]:
        """A live bar."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        whole, rest = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
        columns = (
            TextColumn("{task.description}", markup=False, table_column=whole),
            BarColumn(bar_width=16),
            MofNCompleteColumn(table_column=whole),
            TimeRemainingColumn(table_column=whole),
            TextColumn("{task.fields[values]}", markup=False, table_column=rest),
        )
        with Progress(*columns, console=self._console, transient=True, expand=True) as bars:
            bar = _TerminalBar(bars, bars.add_task(label, total=total, completed=start, values=""))
            began = time.monotonic()
            yield bar
        self.say(_line(label, bar.done, total, time.monotonic() - began, None, bar.values))


class _SilentBar:
    def update(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """Nothing."""


class _TerminalBar:
    def __init__(self, bars: RichBars, task: TaskID) -> None:
        self._bars, self._task = bars, task
        self.done = int(bars.tasks[0].completed)
        self.values: Mapping[str, float] = {}

    def update(self, done: int, values: Mapping[str, float] | None = None) -> None:
        self.done, self.values = done, self.values if values is None else values
        self._bars.update(self._task, completed=done, values=format_values(self.values))


class _PlainBar:
    def __init__(
        self, say: Callable[[str], None], label: str, total: int, start: int, every_s: float, clock: Callable[[], float]
    ) -> None:
        self._say, self._label, self._total, self._start = say, label, total, start
        self._every_s, self._clock = every_s, clock
        self._began = self._shown = clock()
        self._done, self._values = start, dict[str, float]()

    def update(self, done: int, values: Mapping[str, float] | None = None) -> None:
        self._done = done
        if values is not None:
            self._values = dict(values)
        if done < self._total and self._clock() - self._shown >= self._every_s:
            self._shown = self._clock()
            elapsed = self._shown - self._began
            rate = (done - self._start) / elapsed if elapsed > 0 else 0.0
            eta = (self._total - done) / rate if rate > 0 else None
            self._say(_line(self._label, done, self._total, elapsed, eta, self._values))

    def last_line(self) -> None:
        self._say(_line(self._label, self._done, self._total, self._clock() - self._began, None, self._values))


def format_values(values: Mapping[str, float]) -> str:
    """`loss 0.1234  lr 1.0e-04`: four significant digits, in the order given."""
    return "  ".join(f"{name} {_number(value)}" for name, value in values.items())


def format_seconds(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.1e}" if value != 0 and abs(value) < 1e-3 else f"{value:.4g}"


def _line(label: str, done: int, total: int, elapsed: float, eta: float | None, values: Mapping[str, float]) -> str:
    parts = [f"{label}  {done}/{total}", format_seconds(elapsed)]
    if eta is not None:
        parts.append(f"ETA {format_seconds(eta)}")
    if values:
        parts.append(format_values(values))
    return "  ".join(parts)
