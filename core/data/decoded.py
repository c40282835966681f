"""Decoded images that stay in memory up to a limit, so that a small data set is decoded once and not in every epoch.

What came first stays: an epoch comes round in another order, and what is thrown out for something newer would be asked
for again just as soon. Each process has its own; a copy that is sent to another process starts empty. It knows arrays,
and nothing of files or sensors.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np


class Decoded:
    """Arrays by key, as many as fit.

    Args:
        limit: bytes that are kept at most; 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._kept: dict[Hashable, np.ndarray] = {}

    def get(self, key: Hashable, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of `key`: the kept one, or what `decode` makes. A kept one is read-only."""
        known = self._kept.get(key)
        return self._keep(key, decode()) if known is None else known

    def _keep(self, key: Hashable, array: np.ndarray) -> np.ndarray:
        if self.bytes + array.nbytes <= self.limit:
            array.flags.writeable = False
            self._kept[key] = array
            self.bytes += array.nbytes
        return array

    def __len__(self) -> int:
        return len(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["limit"])  # type: ignore[misc]  # a copy starts as a new one does
