"""Work on items in several threads at the same time; results come in the order of the items, a bounded number ahead.

What the work calls runs in several threads at once, and must bear that. Taking items is done by one thread at a time. It
knows no images and no frames.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")

ASK_EVERY = 0.1
"""Seconds between two questions of a waiting thread whether it shall stop."""

PATIENCE = 3.0
"""Seconds for which the end of `in_order` waits for threads that are in the middle of something."""

MOST_THREADS = 4
"""Threads that work, unless fewer are asked for: each has an item of its own in memory."""


class InOrder(Generic[T, R]):
    """Threads that take items, work on them, and line up what comes out.

    Args:
        work: from an item to its result.
        items: taken one after the other, no earlier than there is a place for the result.
        threads: that work, at least 1.
        ahead: results, finished or not, that wait for whoever reads them; at least `threads`.
    """

    def __init__(self, work: Callable[[T], R], items: Iterable[T], threads: int, ahead: int) -> None:
        self._work, self._items, self._ahead = work, iter(items), max(threads, ahead)
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._places: deque[_Place[R]] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._threads = [threading.Thread(target=self._work_off, daemon=True) for _ in range(threads)]

    def results(self, stopped: Callable[[], bool] = lambda: False) -> Iterator[R]:
        """The results; threads begin with the first one, and take nothing more once the iterator is closed.

        Args:
            stopped: asked again and again while nothing comes; once true, no result follows.

        Raises:
            BaseException: what the work on an item failed with, in its place; what taking items failed with, at the end.
        """
        for thread in self._threads:
            thread.start()
        try:
            while (place := self._due(stopped)) is not None:
                if place.error is not None:
                    raise place.error
                yield cast(R, place.result)
        finally:
            self.close()

    def close(self) -> None:
        """Nobody will read any more; threads end once they are done with what they are at."""
        with self._changed:
            self._places.clear()
            self._ended = True
            self._changed.notify_all()

    def join(self, patience: float = math.inf) -> bool:
        """Wait for the threads, so many seconds for all of them, and say whether they ended."""
        end = time.monotonic() + patience
        for thread in self._threads:
            if thread.ident is not None:  # it began
                thread.join(None if patience == math.inf else max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _due(self, stopped: Callable[[], bool]) -> _Place[R] | None:
        """The next place, once it is filled; None at the end."""
        with self._changed:
            while not (self._places[0].filled if self._places else self._ended) and not stopped():
                self._changed.wait(ASK_EVERY)
            if stopped():
                return None
            if self._places:
                self._changed.notify_all()
                return self._places.popleft()
            if self._error is not None:
                raise self._error
            return None

    def _work_off(self) -> None:
        while (taken := self._taken()) is not None:
            item, place = taken
            try:
                place.result = self._work(item)
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that reads
                place.error = error
            with self._changed:
                place.filled = True
                self._changed.notify_all()
            del item, place, taken  # a thread that waits holds no image

    def _taken(self) -> tuple[T, _Place[R]] | None:
        """The next item with a place for its result; None at the end."""
        with self._turn:
            if not self._has_room():
                return None
            try:
                item = next(self._items)
            except StopIteration:
                self._finish()
                return None
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that reads
                self._finish(error)
                return None
            place: _Place[R] = _Place()
            with self._changed:
                if not self._ended:
                    self._places.append(place)
            return item, place

    def _has_room(self) -> bool:
        """Wait for a place; False once the end came."""
        with self._changed:
            while not self._ended and len(self._places) >= self._ahead:
                self._changed.wait()
            return not self._ended

    def _finish(self, error: BaseException | None = None) -> None:
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()


class _Place(Generic[R]):
    """Where a result goes, in line."""

    result: R | None = None
    error: BaseException | None = None
    filled = False


def in_order(work: Callable[[T], R], items: Iterable[T], ahead: int, threads: int | None = None) -> Iterator[R]:
    """Results in the order of the items, by as many threads as there are processors, `MOST_THREADS` at most.

    Args:
        work: from an item to its result; runs in several threads at once.
        items: one thread at a time takes them.
        ahead: results that are in memory at most, besides the one that was given; at least one a thread.
        threads: that work at most; None: no further limit.

    Raises:
        BaseException: what work and items fail with, where it belongs.
    """
    working = InOrder(work, items, min(threads or MOST_THREADS, processors(), MOST_THREADS), ahead)
    try:
        yield from working.results()
    finally:
        working.close()
        working.join(PATIENCE)


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
