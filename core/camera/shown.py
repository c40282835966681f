"""Where drawn frames are looked at: a folder of pictures, a video file, a window."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from edgefw.camera.frames import Frame
from edgefw.camera.video import ENDINGS, opencv
from edgefw.data.atomic_files import write_file
from edgefw.errors import DataError, MissingDependency

QUALITY = 90
LONGEST_GAP = 5.0
"""Seconds that a video file stands still at most where frames are missing; a camera may be lost for an hour."""

_CODECS = {".avi": "MJPG", ".mjpeg": "MJPG"}
_COUNTED = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".wmv"})
"""Formats that store how long they are; of others OpenCV guesses it from the bit rate, or knows nothing."""
_ESCAPE = 27


class Shown(Protocol):
    """Takes drawn frames, in order."""

    def add(self, picture: np.ndarray, frame: Frame) -> str | None:
        """Show a picture (H, W, 3) uint8 of a frame; the file it went into, where it has one of its own.

        Raises:
            DataError: if it cannot be written.
        """
        ...

    def close(self) -> None:
        """No frame comes any more."""
        ...


class PictureFolder:
    """A JPEG file per frame, `000042-name.jpg`, named by the frame's number and the file it came from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        _made(folder)

    def add(self, picture: np.ndarray, frame: Frame) -> str:
        """Write it, whole or not at all."""
        stem = re.sub(r"[^\w.-]", "_", Path(frame.where).stem)[:80]
        target = self._folder / f"{frame.number:06d}-{stem}.jpg"
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="JPEG", quality=QUALITY)
        try:
            write_file(target, lambda draft: draft.write_bytes(buffer.getvalue()))
        except OSError as error:
            raise DataError(f"--out {target}: cannot be written ({error.strerror or error}).") from error
        return str(target)

    def close(self) -> None:
        """Nothing is open."""


class VideoFile:
    """A video file through OpenCV; it has its name when it is complete.

    A frame stands until the next one is due, so the video lasts as long as what was looked at.

    Args:
        file: .mp4 and .mkv hold MPEG-4, .avi Motion JPEG.
        rate: frames a second.

    Raises:
        MissingDependency: without OpenCV.
        DataError: if the folder of the file cannot be made.
    """

    def __init__(self, file: Path, rate: float) -> None:
        self._cv2 = opencv()
        self._file, self._rate = file, rate
        self._draft = file.with_name(f".{file.stem}.{os.getpid()}.unfinished{file.suffix}")
        self._writer: Any = None
        self._size = (0, 0)
        self._first, self._count = 0.0, 0
        self._last: np.ndarray | None = None
        _made(file.parent)

    def add(self, picture: np.ndarray, frame: Frame) -> None:
        """Write it; the one before it is repeated where frames are missing in between."""
        if self._writer is None:
            self._open(picture, frame)
        picture = self._fitting(picture)
        missing = round((frame.seconds - self._first) * self._rate) - self._count
        most = round(LONGEST_GAP * self._rate)
        if missing > most:
            self._first += (missing - most) / self._rate
        for _ in range(min(missing, most)):
            self._write(self._last)
        self._write(picture)
        self._last = picture

    def close(self) -> None:
        """Finish the file, and read back whether all of it is there: OpenCV does not say what it could not write.

        Raises:
            DataError: if not all of it was written; then there is no file.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if not self._is_whole():
            self._draft.unlink(missing_ok=True)
            raise DataError(f"--out {self._file}: the video could not be written to its end. Is the disk full?")
        self._draft.replace(self._file)

    def _is_whole(self) -> bool:
        """Whether the draft states all frames (a length in seconds may be one short), or, without a length, can be read."""
        capture = self._cv2.VideoCapture(str(self._draft))
        try:
            if self._file.suffix.lower() not in _COUNTED:
                return bool(capture.isOpened() and capture.read()[0])
            stated = capture.get(self._cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
            return bool(stated >= max(1, self._count - 1))
        finally:
            capture.release()

    def _open(self, picture: np.ndarray, frame: Frame) -> None:
        height, width = (side // 2 * 2 for side in picture.shape[:2])  # codecs halve colours
        code = self._cv2.VideoWriter_fourcc(*_CODECS.get(self._file.suffix.lower(), "mp4v"))
        self._writer = self._cv2.VideoWriter(str(self._draft), code, self._rate, (width, height))
        self._size, self._first = (height, width), frame.seconds
        if not self._writer.isOpened():
            self._writer = None
            raise DataError(
                f"--out {self._file}: OpenCV cannot write such a file here. Use .mp4 or .avi in a folder you may write to, "
                "or a folder for pictures."
            )

    def _fitting(self, picture: np.ndarray) -> np.ndarray:
        """A frame of another size than the first one is resized; an odd row or column is cut off."""
        height, width = self._size
        if (picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2) != self._size:
            return np.asarray(Image.fromarray(picture).resize((width, height)))
        return picture[:height, :width]

    def _write(self, picture: np.ndarray | None) -> None:
        if picture is not None:
            self._writer.write(self._cv2.cvtColor(np.ascontiguousarray(picture), self._cv2.COLOR_RGB2BGR))
            self._count += 1


class Window:
    """A window of OpenCV; the key q or Escape asks for the end.

    Args:
        stop: called when a key asks for the end.

    Raises:
        MissingDependency: if OpenCV has no windows, or there is no display.
    """

    TITLE = "edgefw"

    def __init__(self, stop: Callable[[], object]) -> None:
        self._cv2, self._stop = opencv(), stop
        if not _has_windows(self._cv2) or not _has_display():
            raise MissingDependency(
                "--show window: OpenCV has no window here: there is no display, or it is opencv-python-headless. Use --out FILE "
                "or --out FOLDER; with a display: pip install opencv-python in its place."
            )

    def add(self, picture: np.ndarray, frame: Frame) -> None:
        """Show it, and look at the keyboard."""
        self._cv2.imshow(self.TITLE, self._cv2.cvtColor(picture, self._cv2.COLOR_RGB2BGR))
        if self._cv2.waitKey(1) & 0xFF in (_ESCAPE, ord("q")):
            self._stop()

    def close(self) -> None:
        """Take the window away."""
        self._cv2.destroyAllWindows()


def is_video_name(path: Path) -> bool:
    """Whether drawn frames go into a video file of that name, and not into a folder."""
    return path.suffix.lower() in ENDINGS and not path.is_dir()


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--out {folder}: the folder cannot be made ({error.strerror or error}).") from error


def _has_windows(cv2: Any) -> bool:
    lines = [
        line.split(":", 1)[1] for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")
    ]
    return not any("NONE" in line for line in lines)


def _has_display() -> bool:
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
