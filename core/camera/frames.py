"""A frame, and what gives frames: a video file, a camera, a folder that others write into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image of a source.

    Attributes:
        number: its place in the source, counted from 0; frames that were dropped leave gaps.
        seconds: position in a video, or since the source was opened; never falls.
        time: when it was seen, in UTC.
        values: as the sensor's modality decodes them; (H, W, 3) uint8 for RGB.
        where: words for messages and metadata ("drive.mp4", "inbox/0001.jpg").
        data: the file it came from, as bytes; None where it came from a stream.
        ending: of that file's name, such as "jpg"; "" without one.
    """

    number: int
    seconds: float
    time: datetime
    values: np.ndarray
    where: str
    data: bytes | None = None
    ending: str = ""


class FrameSource(Protocol):
    """Gives frames until it ends or is closed.

    Attributes:
        live: whether frames pass by also when nobody takes them (a camera): then a slow reader misses some.
    """

    live: bool

    def frames(self) -> Iterator[Frame]:
        """The frames, in order.

        Raises:
            DataError: if the source cannot be opened or read.
        """
        ...

    def close(self) -> None:
        """End `frames` at its next step; may be called from another thread."""
        ...

    def notes(self) -> dict[str, int]:
        """What happened that a user should know, by name: images that could not be read, times a camera was lost."""
        ...
