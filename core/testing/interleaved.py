"""Run calls in several threads that change places between any two lines: what they share by mistake, they mix up."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

R = TypeVar("R")

SHARE = 0.2
"""Of the lines of Python code before which a thread lets the others go on."""


def interleaved(calls: Sequence[Callable[[], R]]) -> list[R]:
    """What each call returns; every one has a thread of its own, and all begin together.

    Raises:
        BaseException: what the first failing one of them failed with.
    """
    together = threading.Barrier(len(calls))

    def begin(numbered: tuple[int, Callable[[], R]]) -> R:
        together.wait()
        with _pauses(numbered[0]):
            return numbered[1]()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, enumerate(calls)))


@contextmanager
def _pauses(seed: int) -> Iterator[None]:
    """Let this thread pause before lines drawn by `seed`, in all functions that it calls."""
    draw, before = random.Random(seed), sys.gettrace()

    def pause(frame: Any, event: str, argument: Any) -> Any:
        if draw.random() < SHARE:
            time.sleep(1e-5)
        return pause

    sys.settrace(pause)
    try:
        yield
    finally:
        sys.settrace(before)
