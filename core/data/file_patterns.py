"""Files named by patterns: braces as in bash (`{000..009}`, `{a,b}`, nested), then `*`, `?` and `[...]`.

It knows texts and folder listings; it opens no file. Letter ranges (`{a..f}`) are not expanded.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgefw.errors import DataError, RecipeError

LIMIT = 100_000
"""Most names that one pattern may stand for."""

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?")


def expand_braces(pattern: str) -> list[str]:
    """Every name that the braces of a pattern stand for, in bash's order; braces without a comma or range stay.

    Raises:
        RecipeError: if braces do not match, or stand for more than `LIMIT` names.
    """
    if not _is_balanced(pattern):
        raise RecipeError(f"the braces of '{pattern}' do not match.")
    names = []
    for name in _expand(pattern):
        names.append(name)
        if len(names) > LIMIT:
            raise RecipeError(f"'{pattern}' stands for more than {LIMIT} names.")
    return names


def matching_files(patterns: str | Iterable[str], root: Path) -> list[Path]:
    """The files that patterns name, relative ones below `root`: in the patterns' order, each file once.

    Raises:
        RecipeError: if braces do not match.
        DataError: if a name or a glob has no file.
    """
    files: dict[Path, None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        for name in expand_braces(pattern):
            files.update(dict.fromkeys(_existing(name, root)))
    return list(files)


def _existing(name: str, root: Path) -> list[Path]:
    if "\0" in name:
        raise DataError(f"{name!r}: no file name.")
    path = root / name
    if path.is_file():
        return [path]
    # only the user's part is a glob: the folder above it may have brackets in its name
    found = [Path(root / match) for match in glob.glob(name, root_dir=root, recursive=True)]
    files = sorted(match for match in found if match.is_file())
    if not files:
        raise DataError(f"{path}: there is no such file." if not glob.has_magic(name) else f"{path}: no file matches.")
    return files


def _is_balanced(pattern: str) -> bool:
    depth = 0
    for character in pattern:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0


def _expand(pattern: str) -> Iterator[str]:
    start = pattern.find("{")
    if start < 0:
        yield pattern
        return
    end = _closing(pattern, start)
    for middle in _alternatives(pattern[start + 1 : end]):
        for rest in _expand(pattern[end + 1 :]):
            yield pattern[:start] + middle + rest


def _alternatives(inside: str) -> Iterator[str]:
    numbers = _RANGE.fullmatch(inside)
    parts = _split(inside)
    if numbers:
        yield from _numbers(*numbers.groups())
    elif len(parts) > 1:
        for part in parts:
            yield from _expand(part)
    else:
        yield from (f"{{{middle}}}" for middle in _expand(inside))


def _numbers(first: str, last: str, step: str | None) -> Iterator[str]:
    padded = any(text.lstrip("-").startswith("0") and text.lstrip("-") != "0" for text in (first, last))
    width = max(len(first), len(last)) if padded else 0
    start, end, by = int(first), int(last), int(step or 1) or 1
    numbers = range(start, end + 1, by) if start < end else range(start, end - 1, -by)
    return (f"{number:0{width}d}" for number in numbers)


def _split(inside: str) -> list[str]:
    """The parts between commas that stand outside of inner braces."""
    parts, depth = [""], 0
    for character in inside:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _closing(pattern: str, start: int) -> int:
    depth = 0
    for position in range(start, len(pattern)):
        depth += {"{": 1, "}": -1}.get(pattern[position], 0)
        if depth == 0:
            return position
    raise RecipeError(f"the braces of '{pattern}' do not match.")
