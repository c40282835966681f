"""A queue of bounded length between two threads, which waits or drops when it is full."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Literal, TypeVar

T = TypeVar("T")

Drop = Literal["oldest", "newest"]


class FrameQueue(Generic[T]):
    """Hands items from one thread to another, in order.

    Args:
        size: items that may wait.
        drop: what goes when the queue is full; None makes the giving thread wait.

    Attributes:
        dropped: items that went.
    """

    def __init__(self, size: int, drop: Drop | None = None) -> None:
        self._size = size
        self._drop = drop
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, item: T) -> bool:
        """Give an item; False once the queue has ended, so that the giving thread can end too."""
        with self._changed:
            while not self._ended and self._drop is None and len(self._items) >= self._size:
                self._changed.wait()
            if self._ended:
                return False
            if len(self._items) >= self._size:
                self.dropped += 1
                if self._drop == "newest":
                    return True
                self._items.popleft()
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> T | None:
        """Take the next item, waiting for it; None at the end.

        Raises:
            BaseException: what the giving thread failed with, once its items are taken.
        """
        with self._changed:
            while not self._items and not self._ended:
                self._changed.wait()
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            return None

    def end(self, error: BaseException | None = None) -> None:
        """No item follows; what waits may still be taken."""
        with self._changed:
            self._ended = True
            self._error = self._error or error
            self._changed.notify_all()

    def abandon(self) -> None:
        """Nobody will take anything any more."""
        with self._changed:
            self._items.clear()
            self._ended = True
            self._changed.notify_all()
