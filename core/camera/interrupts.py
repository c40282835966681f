"""Ctrl-C, and what a service manager sends to end a process, as a wish that is met between two frames.

The first signal asks for the end; the second one ends at once, as Ctrl-C usually does.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def asks_to_stop(stop: Callable[[], None]) -> Iterator[None]:
    """While it lasts, the first SIGINT or SIGTERM calls `stop`, and whatever is being done is done to its end.

    Outside the main thread, which alone may have handlers, nothing changes.

    Args:
        stop: must take no locks: it may run in the middle of anything.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    before = {name: signal.signal(name, handle) for name in SIGNALS}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
