"""Where edgefw keeps what may be made again, between runs and for all of them: one folder per user.

`EDGEFW_CACHE` names it; else it is `edgefw` in the system's cache folder (`XDG_CACHE_HOME`, by default `~/.cache`).
"""

from __future__ import annotations

import os
from pathlib import Path

CACHE = "EDGEFW_CACHE"
"""The environment variable that names it."""


def user_cache() -> Path:
    """The folder, absolute; it may not exist yet."""
    if named := os.environ.get(CACHE):
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "edgefw"
