"""SHA-256 of files, and the list of them that covers a bundle (`sha256sum -c SHA256SUMS` reads it too).

It knows bytes and names; it refuses to know what the files mean.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from edgefw.errors import BundleError
from edgefw.runtime.contents import SUMS, inside

__all__ = ["SUMS", "check_sums", "read_sums", "sha256_of", "write_sums"]

_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file, read in pieces.

    Raises:
        BundleError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error}).") from error


def write_sums(folder: Path) -> None:
    """Write `SHA256SUMS` over every file below the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """Relative name -> SHA-256 (hex).

    Raises:
        BundleError: if the list is missing or damaged, or a name leads out of the folder.
    """
    path = folder / SUMS
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{folder}: {SUMS} cannot be read, so nothing in it can be trusted ({error}).") from error
    sums: dict[str, str] = {}
    for line in text.split("\n")[:-1]:
        match = _LINE.fullmatch(line)
        if match is None or match[2] in sums:
            raise BundleError(f"{path}: damaged at '{line[:40]}'. Copy the bundle again.")
        sums[_inside(match[2], path)] = match[1]
    if not sums or not text.endswith("\n"):
        raise BundleError(f"{path}: damaged or empty. Copy the bundle again.")
    return sums


def _inside(name: str, path: Path) -> str:
    try:
        return inside(name)
    except ValueError as error:
        raise BundleError(f"{path}: lists {name[:80]!r}; a name {error}. Do not use this bundle.") from error


def check_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """Compare every listed file with its hash.

    Raises:
        BundleError: naming the first file that is missing or differs.
    """
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path}: missing; {SUMS} lists it. Copy the bundle again.")
        if sha256_of(path) != expected:
            raise BundleError(f"{path}: damaged or changed (its SHA-256 differs). Copy the bundle again.")
