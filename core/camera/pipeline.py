"""Decode, prepare and encode frames at the same time, each in a thread of its own, with a bounded number in memory.

    source --[frames]--> prepare --[inputs]--> encode        both queues hold a handful; nothing grows with time

A live source never waits: when the first queue is full, frames are dropped by policy and counted. A file waits, and
loses none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from edgefw.camera.frame_queue import Drop, FrameQueue
from edgefw.camera.frames import Frame, FrameSource

T = TypeVar("T")

QUEUE = 4
"""Frames that wait between two threads."""

PATIENCE = 3.0
"""Seconds for which the end waits for a source that is in the middle of something."""


class Pipeline:
    """Frames with their embeddings.

    Args:
        source: where frames come from.
        prepare: from a frame to the encoder's input (C, H, W).
        encode: from inputs (1, C, H, W) to embeddings (1, D).
        drop: what a live source loses when encoding is slower: the oldest waiting frame, or the newest.

    Attributes:
        stopped: whether the end was asked for.
        hangs: whether the source did not come back from a read at the end; its thread is left behind.
    """

    def __init__(
        self,
        source: FrameSource,
        prepare: Callable[[Frame], np.ndarray],
        encode: Callable[[np.ndarray], np.ndarray],
        drop: Drop = "oldest",
    ) -> None:
        self._source = source
        self._prepare = prepare
        self._encode = encode
        self._frames: FrameQueue[Frame] = FrameQueue(QUEUE, drop if source.live else None)
        self._inputs: FrameQueue[tuple[Frame, np.ndarray]] = FrameQueue(QUEUE)
        self.stopped = False
        self.hangs = False

    def stop(self) -> None:
        """End `run` before its next frame; takes no lock, so that a signal handler may call it."""
        self.stopped = True

    @property
    def dropped(self) -> int:
        """Frames that were read and not looked at."""
        return self._frames.dropped

    def run(self) -> Iterator[tuple[Frame, np.ndarray]]:
        """Each frame with its embedding (D,), in order; threads end when the iterator is closed or at its end.

        Raises:
            DataError: what source or preparation failed with.
        """
        threads = [self._thread(self._read, self._frames), self._thread(self._make_inputs, self._inputs)]
        for thread in threads:
            thread.start()
        try:
            while (item := self._inputs.get(lambda: self.stopped)) is not None:
                frame, pixels = item
                yield frame, self._encode(pixels[None])[0]
        finally:
            self._source.close()
            self._inputs.abandon()
            self._frames.abandon()
            self._join(threads)

    def _join(self, threads: list[threading.Thread]) -> None:
        end = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        self.hangs = any(thread.is_alive() for thread in threads)

    def _thread(self, work: Callable[[], None], queue: FrameQueue[T]) -> threading.Thread:
        def body() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that reads
                queue.end(error)
            else:
                queue.end()

        return threading.Thread(target=body, daemon=True)

    def _read(self) -> None:
        for frame in self._source.frames():
            if not self._frames.put(frame):
                return

    def _make_inputs(self) -> None:
        while (frame := self._frames.get()) is not None:
            if not self._inputs.put((frame, self._prepare(frame))):
                return
