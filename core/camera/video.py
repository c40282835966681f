"""Frames of a video file, a camera by its index, or a stream by its address, through OpenCV.

A camera or stream that is lost is opened again, after a wait that doubles up to half a minute, until frames come; how
often it was lost is counted. A video file ends, also one that comes by its address: what states how long it is has an end.
"""

from __future__ import annotations

import math
import re
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

LARGEST_INDEX = 9999
"""OpenCV puts the number of a capture interface in front of the camera's own (700 + n); beyond, there is nothing."""


def is_video(source: str) -> bool:
    """Whether a source names a video file, a camera index, or the address of a stream."""
    if Path(source).suffix.lower() in ENDINGS:
        return True
    return "://" in source or _is_index(source)


class VideoSource:
    """OpenCV's `VideoCapture`.

    Args:
        source: a file, an index ("0"), or an address ("rtsp://...").
        realtime: give a file's frames at its own pace, as a camera would.
        patience: seconds for which a lost camera is looked for; None: for ever.

    Raises:
        MissingDependency: without OpenCV.
        DataError: if there is no such file, or nothing can be read from the source.

    Attributes:
        ends: whether it has an end: a file, or an address that states how long it is.
        rate: frames a second, as it states; 25 where it states none.
        live: whether frames pass by also when nobody takes them: what has no end, and a file in real time.
    """

    def __init__(self, source: str, realtime: bool = False, patience: float | None = None) -> None:
        self._cv2 = opencv()
        self._source = source
        self._target = _target(source)
        self._realtime = realtime
        self._patience = patience
        self._closed = threading.Event()
        self._lost, self._wait, self._lost_at = 0, FIRST_WAIT, math.nan
        is_path = isinstance(self._target, Path)
        if isinstance(self._target, Path) and not self._target.is_file():
            raise DataError(f"{source}: there is no such video file.")
        self._capture = self._opened()
        if self._capture is None:
            what = "no video that OpenCV can read" if is_path else "no camera or stream answers"
            raise DataError(f"{source}: {what}.")
        self.ends = is_path or (not isinstance(self._target, int) and self._has_end(self._capture))
        self.live = realtime or not self.ends

    def frames(self) -> Iterator[Frame]:
        """The frames; of a file until its end, of a camera until it is closed or stays lost."""
        began, number = time.monotonic(), 0
        while not self._closed.is_set():
            read, image = self._capture.read() if self._capture is not None else (False, None)
            if not read:
                if self.ends or not self._again():
                    break
                continue
            self._wait, self._lost_at = FIRST_WAIT, math.nan
            seconds = self._position(number, began)
            self._keep_pace(began + seconds)
            now = datetime.now(UTC)
            seen = self._began_at + timedelta(seconds=seconds) if self.ends and not self._realtime else now
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
        target = self._target if isinstance(self._target, int) else self._source
        capture = self._cv2.VideoCapture(target)
        if not capture.isOpened():
            capture.release()
            return None
        rate = capture.get(self._cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else 25.0
        self._began_at = datetime.now(UTC)
        return capture

    def _position(self, number: int, began: float) -> float:
        return number / self.rate if self.ends else time.monotonic() - began

    def _keep_pace(self, due: float) -> None:
        if self.ends and self._realtime:
            self._closed.wait(max(0.0, due - time.monotonic()))

    def _has_end(self, capture: Any) -> bool:
        return bool(capture.get(self._cv2.CAP_PROP_FRAME_COUNT) > 0)

    def _again(self) -> bool:
        """Whether a lost camera came back; one that opens and gives no frame was not there in between."""
        if math.isnan(self._lost_at):
            self._lost, self._lost_at = self._lost + 1, time.monotonic()
        self._release()
        while not self._is_given_up() and not self._closed.wait(self._wait):
            self._wait = min(2 * self._wait, LONGEST_WAIT)
            self._capture = self._opened()
            if self._capture is not None:
                return True
        return False

    def _is_given_up(self) -> bool:
        return self._patience is not None and time.monotonic() > self._lost_at + self._patience

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _is_index(source: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", source) is not None and not Path(source).exists()


def _target(source: str) -> int | str | Path:
    """A camera's number, an address, or a file.

    Raises:
        DataError: if it is a number that no camera can have.
    """
    if "://" in source:
        return source
    if not _is_index(source):
        return Path(source)
    if not (source.isdecimal() and len(source) <= len(str(LARGEST_INDEX))):
        raise DataError(
            f"{source}: no camera has this number. Cameras count from 0; `edgefw label BUNDLE 0` is the first."
        )
    return int(source)


def opencv() -> Any:
    """The package cv2.

    Raises:
        MissingDependency: if it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency(
            'video and cameras need OpenCV: pip install "edgefw[video]". Image files and folders need nothing.'
        ) from error
    return cv2
