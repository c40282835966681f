"""One labeller per store: a lock on the folder itself, which the system takes back when its process ends, however.

Nothing is written for it, so nothing stale can be left behind. Systems without `flock` (Windows), and file systems that
know no locks, go without.
"""

from __future__ import annotations

import errno
import os
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path

from edgefw.errors import DataError, EdgefwWarning

_HELD = (errno.EWOULDBLOCK, errno.EACCES)


class FolderLock:
    """Held from here on, until it is released or forgotten, or the process ends.

    Args:
        folder: exists.

    Raises:
        DataError: if another labeller holds it.
        OSError: if the folder cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self._release: Callable[[], object] = lambda: None
        try:
            import fcntl
        except ImportError:
            return
        place = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(place)
            if error.errno in _HELD:
                raise DataError(
                    f"{folder}: another labeller stores its frames here. Wait for its end, or choose another --store."
                ) from error
            warnings.warn(f"{folder}: cannot be locked; let no second labeller use it.", EdgefwWarning, stacklevel=2)
            return
        self._release = weakref.finalize(self, os.close, place)

    def release(self) -> None:
        """Let others have the folder; more than once does no harm."""
        self._release()
