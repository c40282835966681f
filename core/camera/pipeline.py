"""Read, prepare and encode frames at the same time, in threads of their own, with a bounded number in memory.

    source --[frames]--> prepare, encode --[embeddings]--> in order        nothing grows with time

One thread reads. As many frames are encoded at the same time as there are encoders, and one more is prepared meanwhile. A
live source never waits: when the queue of frames is full, frames are dropped by policy and counted. A file waits, and
loses none. Of E encoders' frames, encoded or not yet, E + 1 are in memory, of a file twice as many; to these come the
queue's four, the one that is read and the one that was given.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edgefw.camera.frame_queue import Drop, FrameQueue
from edgefw.camera.frames import Frame, FrameSource
from edgefw.runtime.in_order import InOrder

QUEUE = 4
"""Frames that wait between the source and whoever prepares them."""

PATIENCE = 3.0
"""Seconds for which the end waits for a source that is in the middle of something."""

Encode = Callable[[np.ndarray], np.ndarray]


class Pipeline:
    """Frames with their embeddings.

    Args:
        source: where frames come from.
        prepare: from a frame to the encoder's input (C, H, W); runs in several threads at once.
        encoders: from inputs (1, C, H, W) to embeddings (1, D); each is called by one thread at a time.
        drop: what a live source loses when encoding is slower: the oldest waiting frame, or the newest.

    Attributes:
        stopped: whether the end was asked for.
        hangs: whether the source did not come back from a read at the end; its thread is left behind.
    """

    def __init__(
        self,
        source: FrameSource,
        prepare: Callable[[Frame], np.ndarray],
        encoders: Sequence[Encode],
        drop: Drop = "oldest",
    ) -> None:
        self._source = source
        self._prepare = prepare
        self._free: queue.SimpleQueue[Encode] = queue.SimpleQueue()
        for encode in encoders:
            self._free.put(encode)
        self._frames: FrameQueue[Frame] = FrameQueue(QUEUE, drop if source.live else None)
        workers = len(encoders) + 1
        ahead = workers if source.live else 2 * workers  # a live source drops frames rather than let them grow old here
        self._encoding = InOrder(self._embedded, self._taken(), workers, ahead)
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
        reading = threading.Thread(target=self._read, daemon=True)
        reading.start()
        try:
            yield from self._encoding.results(lambda: self.stopped)
        finally:
            self._source.close()
            self._frames.abandon()
            self._encoding.close()
            self._encoding.join()
            reading.join(PATIENCE)
            self.hangs = reading.is_alive()

    def _read(self) -> None:
        try:
            for frame in self._source.frames():
                if not self._frames.put(frame):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that reads
            self._frames.end(error)
        else:
            self._frames.end()

    def _taken(self) -> Iterator[Frame]:
        while (frame := self._frames.get()) is not None:
            yield frame

    def _embedded(self, frame: Frame) -> tuple[Frame, np.ndarray]:
        pixels = self._prepare(frame)
        encode = self._free.get()
        try:
            return frame, encode(pixels[None])[0]
        finally:
            self._free.put(encode)
