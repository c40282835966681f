"""Frames of a video file, a camera by its index, or a stream by its address, through OpenCV.

A camera or stream that is lost is opened again, after a wait that doubles up to half a minute; how often is counted. A
video file ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edgefw.camera.frames import Frame
from edgefw.errors import DataError, MissingDependency

ENDINGS = frozenset({".avi", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})
"""Names that look like videos; capitals do not matter."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0


def is_video(source: str) -> bool:
    """Whether a source names a video file, a camera index, or the address of a stream."""
    if Path(source).suffix.lower() in ENDINGS:
        return True
    return "://" in source or (source.isdigit() and not Path(source).exists())


class VideoSource:
    """OpenCV's `VideoCapture`.

    Args:
        source: a file, an index ("0"), or an address ("rtsp://...").
        realtime: give a file's frames at its own pace, as a camera would.
        patience: seconds for which a lost camera is looked for; None: for ever.

    Raises:
        MissingDependency: without OpenCV.
        DataError: if there is no such file, or nothing can be read from the source.
    """

    def __init__(self, source: str, realtime: bool = False, patience: float | None = None) -> None:
        self._cv2 = _opencv()
        self._source = source
        self._is_file = not ("://" in source or (source.isdigit() and not Path(source).exists()))
        self._realtime = realtime
        self._patience = patience
        self._closed = threading.Event()
        self._lost = 0
        self.live = realtime or not self._is_file
        if self._is_file and not Path(source).is_file():
            raise DataError(f"{source}: there is no such video file.")
        self._capture = self._opened()
        if self._capture is None:
            what = "no video that OpenCV can read" if self._is_file else "no camera or stream answers"
            raise DataError(f"{source}: {what}.")

    def frames(self) -> Iterator[Frame]:
        """The frames; of a file until its end, of a camera until it is closed or stays lost."""
        began, number = time.monotonic(), 0
        while not self._closed.is_set():
            read, image = self._capture.read() if self._capture is not None else (False, None)
            if not read:
                if self._is_file or not self._again():
                    break
                continue
            seconds = self._position(number, began)
            self._keep_pace(began + seconds)
            now = datetime.now(UTC)
            seen = self._began_at + timedelta(seconds=seconds) if self._is_file and not self._realtime else now
            values = self._cv2.cvtColor(image, self._cv2.COLOR_BGR2RGB)
            yield Frame(number=number, seconds=seconds, time=seen, values=values, where=self._source)
            number += 1
        self._release()

    def close(self) -> None:
        """End `frames` at its next step."""
        self._closed.set()

    def notes(self) -> dict[str, int]:
        """How often the camera was lost."""
        return {"camera lost": self._lost} if self._lost else {}

    def _opened(self) -> Any:
        target: Any = int(self._source) if self._source.isdigit() and not self._is_file else self._source
        capture = self._cv2.VideoCapture(target)
        if not capture.isOpened():
            capture.release()
            return None
        rate = capture.get(self._cv2.CAP_PROP_FPS)
        self._rate = rate if 0 < rate < 1000 else 25.0
        self._began_at = datetime.now(UTC)
        return capture

    def _position(self, number: int, began: float) -> float:
        return number / self._rate if self._is_file else time.monotonic() - began

    def _keep_pace(self, due: float) -> None:
        if self._is_file and self._realtime:
            self._closed.wait(max(0.0, due - time.monotonic()))

    def _again(self) -> bool:
        """Whether a lost camera came back."""
        self._lost += 1
        self._release()
        wait, given_up = FIRST_WAIT, None if self._patience is None else time.monotonic() + self._patience
        while not self._closed.wait(wait):
            self._capture = self._opened()
            if self._capture is not None:
                return True
            if given_up is not None and time.monotonic() > given_up:
                return False
            wait = min(2 * wait, LONGEST_WAIT)
        return False

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency(
            'video and cameras need OpenCV: pip install "edgefw[video]". Image files and folders need nothing.'
        ) from error
    return cv2
