"""Weights from a model hub: whatever goes wrong on the way becomes one message that says what to do.

Knows that hub clients fail in many ways and log each attempt; refuses to know which library or model asks.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from edgefw.errors import RecipeError

_LOGGERS = ("huggingface_hub", "httpx", "urllib3")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@contextmanager
def fetching(what: str, remedy: str) -> Iterator[None]:
    """Run a download quietly; any failure is raised as "`what` cannot be loaded (cause). `remedy`".

    Raises:
        RecipeError: if the body raises anything but an error of edgefw.
    """
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    except RecipeError:
        raise
    except Exception as error:  # what a hub client raises differs with its version: the cause is shown and chained
        cause = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0].rstrip(": .")
        raise RecipeError(f"{what} cannot be loaded ({cause}). {remedy}") from error
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def hub_is_reachable(timeout: float = 3.0) -> bool:
    """Whether the Hugging Face hub (or HF_ENDPOINT) answers; False where HF_HUB_OFFLINE is set, True behind a proxy."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    if any(os.environ.get(name) for name in _PROXIES):
        return True
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=timeout).close()
    except OSError:
        return False
    return True
