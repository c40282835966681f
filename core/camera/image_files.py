"""Frames of image files that are there already: files, folders and patterns, in order, each once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edgefw.camera.frames import Frame
from edgefw.errors import DataError
from edgefw.runtime.sources import check_sources, find_images

if TYPE_CHECKING:
    from edgefw.contracts.modality import Modality


class ImageFiles:
    """Files as frames, one second apart: cool-downs count images.

    Args:
        sources: files, folders or patterns.
        modality: decodes them.

    Raises:
        DataError: if a source does not exist.
    """

    live = False

    def __init__(self, sources: Sequence[str], modality: Modality) -> None:
        check_sources(sources)
        self._sources = sources
        self._modality = modality
        self._closed = threading.Event()
        self._unreadable = 0

    def frames(self) -> Iterator[Frame]:
        """The images; what cannot be read is counted."""
        number = 0
        for path in find_images(self._sources):
            if self._closed.is_set():
                return
            try:
                data = path.read_bytes()
                values = self._modality.decode(data, str(path))
            except (OSError, DataError):
                self._unreadable += 1
                continue
            ending = path.suffix.lower().lstrip(".")
            now = datetime.now(UTC)
            yield Frame(
                number=number, seconds=float(number), time=now, values=values, where=str(path), data=data, ending=ending
            )
            number += 1

    def close(self) -> None:
        """End `frames` at its next step."""
        self._closed.set()

    def notes(self) -> dict[str, int]:
        """How many files could not be read."""
        return {"unreadable": self._unreadable} if self._unreadable else {}
