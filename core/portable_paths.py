"""Options with file names that still mean the same file elsewhere: from another folder, or another installation.

    shipped asset           `${shipped:quickstart/teacher.safetensors}`
    other existing file     its absolute path
    `local-dir:` + either   the prefix stays, the path behind it is spelt as above
    anything else           as it is

It knows paths and the folder of shipped assets; it knows no option and no technique.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgefw.recipe import shipped

_SHIPPED = re.compile(r"\$\{shipped:([^}]+)\}")
_LONGEST = 4096


def portable(value: Any, base: Path) -> Any:
    """Plain values with every text that names an existing file spelt so that it is found again.

    Args:
        value: plain JSON values.
        base: folder that relative paths start from.
    """
    if isinstance(value, Mapping):
        return {key: portable(entry, base) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(entry, base) for entry in value]
    return _spelt(value, base) if isinstance(value, str) else value


def resolved(value: Any) -> Any:
    """Plain values with `${shipped:...}` replaced by where that asset lies here.

    Raises:
        RecipeError: if this installation has no such asset.
    """
    if isinstance(value, Mapping):
        return {key: resolved(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolved(entry) for entry in value]
    return _SHIPPED.sub(lambda match: str(shipped.asset(match[1])), value) if isinstance(value, str) else value


def _spelt(text: str, base: Path) -> str:
    if not text or len(text) > _LONGEST or "\0" in text:
        return text
    found = _file(text, base)
    if found is not None:
        return found
    prefix, colon, rest = text.partition(":")
    behind = _file(rest, base) if colon and rest else None
    return text if behind is None else f"{prefix}:{behind}"


def _file(text: str, base: Path) -> str | None:
    """The portable spelling of an existing file or folder; None if there is none of that name."""
    path = base / Path(text).expanduser()
    try:
        if not path.exists():
            return None
    except (OSError, RuntimeError):  # too long a name, or a home folder that nobody has
        return None
    root = (shipped.folder() / "assets").resolve()
    found = path.resolve()
    if found.is_relative_to(root) and found != root:
        return f"${{shipped:{found.relative_to(root).as_posix()}}}"
    return str(path.absolute())
