"""A file that is there whole or not at all: written beside its place, made durable, renamed; what fails leaves nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from edgefw.errors import BundleError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a draft, then put it in the place of `path`; its folder is made where it is missing.

    Raises:
        BundleError: if it cannot be written, or the place is a folder's; what was there before stays.
    """
    try:
        if not path.name or path.is_dir():
            raise BundleError(f"{path}: this is a folder. Name a file in it.")
        _through_draft(path, write)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror or error}).") from error


def _through_draft(path: Path, write: Callable[[Path], object]) -> None:
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(draft)
        _make_durable(draft)
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _make_durable(file: Path) -> None:
    """A rename may reach the disk before the bytes do; after a power cut the file would be empty."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
