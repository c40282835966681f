"""A new folder that is there whole or not at all: filled as a draft, then renamed; what fails leaves none of its files.

A folder that is there and empty stays (it may be a mount, or where a shell stands): its draft lies in it, and moves up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from edgefw.errors import BundleError


def write_whole_folder(target: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write into an empty draft folder, then give it the place of `target`, whose parents are made.

    Raises:
        BundleError: if `target` is there and no empty folder, or something cannot be written.
    """
    try:
        if os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
            raise BundleError(f"{target}: exists and is not an empty folder. Choose another one.")
        _through_draft(target, fill)
    except OSError as error:
        raise BundleError(f"{target}: cannot be written ({error.strerror or error}).") from error


def _through_draft(target: Path, fill: Callable[[Path], object]) -> None:
    home = target if target.is_dir() else target.parent
    draft = home / f".{target.name}.{os.getpid()}.unfinished"
    try:
        draft.mkdir(parents=True)
        fill(draft)
        if home != target:
            draft.rename(target)
        else:
            _move_up(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _move_up(draft: Path, target: Path) -> None:
    """All parts of the draft, or none."""
    moved: list[tuple[Path, Path]] = []
    try:
        for part in sorted(draft.iterdir()):
            part.rename(target / part.name)
            moved.append((target / part.name, part))
    except OSError:
        for here, back in moved:
            here.rename(back)  # the draft is removed as a whole
        raise
