"""Files and folders that exist whole or not at all, also after a crash or a power cut.

Everything is written under a temporary name beside its target, flushed to the disk, and renamed. A write that fails leaves
nothing: on a full disk it would take what room is left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

MARK = ".unfinished"
"""Ending of temporary names; whatever still bears it was left by a killed process and may be removed."""


def write_file(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then put it in the place of `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}{MARK}")
    try:
        write(temporary)
        _flush(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(target.parent)


def write_folder(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary folder, then rename it to `target`, which must not exist."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}{MARK}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        write(temporary)
        for path in temporary.iterdir():
            _flush(path)
        _flush(temporary)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _flush(target.parent)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left in `folder`."""
    for path in folder.glob(f".*{MARK}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
