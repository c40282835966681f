"""Files of several sensors that belong together, because what tells them apart from each other is the same.

A pattern names the files of one sensor. A folder (`color`) names all image files below it, and a file's key is its path
there without the ending; in a glob (`*/color/*.jpg`, `**/rgb_*.png`) the key is what the wildcards stand for, joined by
slashes. Files of one key are a pair. It knows names; it opens no file.

    color/a/1.jpg, depth/a/1.png            with color, depth                         key a/1
    s0/color/1.jpg, s0/depth/1.png          with */color/*.jpg, */depth/*.png         key s0/1
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from edgefw.data.file_trees import files_below, printable
from edgefw.errors import DataError

_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What was found.

    Attributes:
        keys: N keys, sorted.
        paths: sensor -> N paths below the root, "" where the sensor has no file of that key.
        refused: (path, reason) of files that no pattern can use.
    """

    keys: list[str]
    paths: dict[str, list[str]]
    refused: list[tuple[str, str]] = field(default_factory=list)


def find_pairs(root: Path, patterns: Mapping[str, str], endings: Iterable[str], splits: Sequence[str] = ()) -> Pairs:
    """Pair the files below `root`.

    A folder pattern that is not there, but lies below folders named like `splits` (`train/color`), names those; their
    keys begin with the split.

    Raises:
        DataError: if a pattern names no file, or a folder cannot be read.
    """
    refused: list[tuple[str, str]] = []
    allowed = {ending.lower() for ending in endings}
    found = {sensor: _keyed(root, pattern, sensor, allowed, splits, refused) for sensor, pattern in patterns.items()}
    keys = sorted(set().union(*found.values()))
    paths = {sensor: [files.get(key, "") for key in keys] for sensor, files in found.items()}
    return Pairs(keys=keys, paths=paths, refused=refused)


def _keyed(
    root: Path,
    pattern: str,
    sensor: str,
    endings: set[str],
    splits: Sequence[str],
    refused: list[tuple[str, str]],
) -> dict[str, str]:
    """Key -> path below the root, for one sensor; the first of two files of one key, in the order of their names."""
    found: dict[str, str] = {}
    for key, path in sorted(_matches(root, pattern, splits)):
        ending = PurePosixPath(path).suffix.lower()
        if printable(path) != path:
            refused.append((path, "the file name is not UTF-8"))
        elif ending not in endings:
            refused.append((path, f"the ending '{ending}' is none of extensions"))
        elif found.setdefault(key, path) != path:
            refused.append((path, f"'{found[key]}' is the {sensor} image of '{key}' already"))
    if not found:
        raise DataError(f"{sensor}: no image file matches '{pattern}' below {root}.")
    return found


def _matches(root: Path, pattern: str, splits: Sequence[str]) -> Iterable[tuple[str, str]]:
    plain = pattern.strip("/") or "."
    if _MAGIC.search(plain):
        return _matching(root, plain)
    if (root / plain).is_dir():
        return _below(root / plain, "" if plain == "." else f"{plain}/", "")
    halves = [split for split in splits if (root / split / plain).is_dir()]
    if not halves:
        raise DataError(
            f"{root / plain}: there is no such folder. Name a folder or a pattern, such as */{plain}/*.png."
        )
    return [match for half in halves for match in _below(root / half / plain, f"{half}/{plain}/", f"{half}/")]


def _below(folder: Path, path_prefix: str, key_prefix: str) -> Iterable[tuple[str, str]]:
    return ((key_prefix + _stem(path), path_prefix + path) for path in files_below(folder))


def _matching(root: Path, pattern: str) -> Iterable[tuple[str, str]]:
    """Paths below the folder that stands before the first wildcard, matched as a whole."""
    parts = pattern.split("/")
    plain = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    start = "/".join(parts[:plain])
    if start and not (root / start).is_dir():
        raise DataError(f"{root / start}: there is no such folder.")
    regex = _compiled(pattern)
    prefix = f"{start}/" if start else ""
    for path in files_below(root / start):
        if match := regex.fullmatch(prefix + path):
            yield _key(match), prefix + path


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(glob_regex(pattern))
    except re.error as error:
        raise DataError(f"'{pattern}' is no pattern ({error}). Use *, ?, [abc] and ** for any folders.") from error


def _key(match: re.Match[str]) -> str:
    parts = [part.strip("/") for part in match.groups() if part and part.strip("/")]
    key = "/".join(parts) or match[0]
    return _stem(key) if match[0].endswith(key.rpartition("/")[2]) else key


def _stem(path: str) -> str:
    """The path without its ending: what follows the last dot of the file's name."""
    folder, slash, name = path.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return folder + slash + (stem if dot and stem else name)


def glob_regex(pattern: str) -> str:
    """A glob as a regular expression with one group per wildcard: `*`, `?`, `[...]`, and `**` for any folders."""
    out, position = "", 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            out, position = out + r"((?:[^/]+/)*)", position + 3
        elif pattern.startswith("**", position):
            out, position = out + r"(.*)", position + 2
        elif pattern[position] == "*":
            out, position = out + r"([^/]*)", position + 1
        elif pattern[position] == "?":
            out, position = out + r"([^/])", position + 1
        elif pattern[position] == "[" and (end := pattern.find("]", position + 2)) > 0:
            inside = pattern[position + 1 : end].replace("\\", r"\\")
            out, position = out + f"([{'^' + inside[1:] if inside[0] == '!' else inside}])", end + 1
        else:
            out, position = out + re.escape(pattern[position]), position + 1
    return out
