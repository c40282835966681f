"""Wall and processor time of a training that may go on after an interruption."""

from __future__ import annotations

import time


class Stopwatch:
    """Counts on from what an earlier execution had used.

    Args:
        seconds: its wall time.
        cpu_seconds: its processor time.
    """

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
        self._wall = time.monotonic() - seconds
        self._cpu = time.process_time() - cpu_seconds

    def read(self) -> tuple[float, float]:
        """Wall time, and processor time of this process with its threads, in seconds."""
        return time.monotonic() - self._wall, time.process_time() - self._cpu
