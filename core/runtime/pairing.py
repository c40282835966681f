"""Which files belong together: sources named by their sensor, and files of one name in several of them.

    rgb=DIR depth=DIR      DIR/kitchen/7.jpg and DIR/kitchen/7.png are one scene, "kitchen/7"

Files are paired by their path below the folder that was named, without the ending; a file that is named itself, or found by a
pattern, by its name without the ending. Capitals matter. Only names are held in memory. It knows names; what is done with a
scene that lacks a file is decided elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgefw.errors import DataError
from edgefw.runtime.sources import check_sources, find_images, is_there

_ROLE = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Files of one name, by sensor."""

    name: str
    files: Mapping[str, Path]


def named_sources(texts: Sequence[str], modalities: Sequence[str]) -> dict[str, list[str]]:
    """Sources by sensor, in the bundle's order of sensors; empty if none of them is named ("rgb=DIR").

    Args:
        texts: as the user gave them; what exists as it is written is no name.
        modalities: the bundle's sensors.

    Raises:
        DataError: if a source is named by another sensor, only some are named, or one does not exist.
    """
    split = [_split(text) for text in texts]
    if all(role is None for role, _ in split):
        return {}
    for text, (role, _) in zip(texts, split):
        if role is None:
            raise DataError(
                f"{text}: other sources are named by their sensor. Name this one too: {modalities[0]}={text}"
            )
        if role not in modalities:
            raise DataError(f"{text}: no modality '{role}'. The bundle has: {', '.join(modalities)}.")
    check_sources([path for _, path in split])
    found = {name: [path for role, path in split if role == name] for name in modalities}
    return {name: paths for name, paths in found.items() if paths}


def scenes(sources: Mapping[str, Sequence[str]]) -> list[Scene]:
    """All scenes: those of the first sensor in their order, then those that only later ones have.

    Raises:
        DataError: if a source holds no image, or two files of one sensor have the same name.
    """
    found: dict[str, dict[str, Path]] = {}
    for role, paths in sources.items():
        for source in paths:
            for name, file in _named_files(source):
                files = found.setdefault(name, {})
                if role in files:
                    raise DataError(
                        f"{files[role]} and {file}: two {role} images are called '{name}', so it is open which of them "
                        "belongs to the other sensors'. Rename or remove one."
                    )
                files[role] = file
    return [Scene(name=name, files=files) for name, files in found.items()]


def _split(text: str) -> tuple[str | None, str]:
    role, equals, rest = text.partition("=")
    named = bool(equals) and _ROLE.fullmatch(role) is not None and not is_there(text)
    return (role, rest) if named else (None, text)


def _named_files(source: str) -> Iterator[tuple[str, Path]]:
    folder = Path(os.path.expanduser(source))
    for file in find_images([source]):
        inside = file.relative_to(folder) if folder.is_dir() else Path(file.name)
        yield inside.with_suffix("").as_posix(), file
