"""Pillow's rarer image formats (TIFF, WebP, ...), loaded once for all threads.

Pillow loads them when a file first needs one. While one thread does, it may tell another one that a file of such a format is
no image; so whatever was refused before all formats were there is decoded again. PNG and JPEG need none of it, and what
reads them starts no later for it. It decodes nothing itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from PIL import Image

from edgefw.errors import DataError

R = TypeVar("R")

_LOADING = threading.Lock()
_LOADED = threading.Event()


def with_all_formats(decode: Callable[[], R]) -> R:
    """What `decode` returns; several threads may be here at the same time.

    Args:
        decode: called once more where it failed before all formats were loaded.

    Raises:
        DataError: what it fails with.
    """
    were_there = _LOADED.is_set()
    try:
        return decode()
    except DataError:
        if were_there:
            raise
    _load()
    return decode()


def _load() -> None:
    with _LOADING:
        if not _LOADED.is_set():
            Image.init()
            _LOADED.set()
