"""What files a bundle may hold: fixed names with the most bytes of each, and the rule for every name in it.

It knows names; which compiled files there are, the manifest says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

MANIFEST = "manifest.json"
LABELS = "labels.json"
REFERENCE = "reference.json"
SUMS = "SHA256SUMS"
LARGEST: Mapping[str, int] = {
    MANIFEST: 16 * 2**20,
    SUMS: 16 * 2**20,
    LABELS: 256 * 2**20,
    REFERENCE: 64 * 2**20,
}
"""Name -> bytes; a file beyond them is none of that kind."""

_PICKLES = frozenset({".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib"})
_LAST_PROTOCOL = 5


def is_pickle(name: str) -> bool:
    """Whether a file is a pickle by its name: who opens one runs what it says."""
    return PurePosixPath(name).suffix.lower() in _PICKLES


def begins_pickle(head: bytes) -> bool:
    """Whether a file's first two bytes are those of a pickle: PROTO, then the protocol, which every pickle since protocol 2 states."""
    return len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= _LAST_PROTOCOL


def inside(name: str) -> str:
    """The name itself, if it stays inside the bundle on every system and is written in one way only.

    Raises:
        ValueError: if it does not.
    """
    path = PurePosixPath(name)
    drive = len(name) > 1 and name[1] == ":"
    out = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or drive
    if out or not path.parts or path.as_posix() != name:
        raise ValueError("must be a relative path inside the bundle, with forward slashes")
    return name
