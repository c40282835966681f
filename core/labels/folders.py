"""Images in class folders, for verifying a bundle or a label pack away from any data set: `DIR/<label>/image.png`.

A folder's name counts as a label if the pack has a label of that name; capitals, `_` and `-` do not matter. It finds
and names; it decodes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgefw.errors import DataError
from edgefw.runtime.pairing import scenes as paired
from edgefw.runtime.sources import find_images


@dataclass(frozen=True, kw_only=True)
class LabelledFolder:
    """One folder of images of one modality."""

    modality: str
    folder: Path
    names: Sequence[str]

    def images(self) -> Iterator[tuple[Path, int]]:
        """(file, label index), -1 where the first folder below `folder` is none of the names; sorted.

        Raises:
            DataError: if there is no image.
        """
        index = {plain_name(name): number for number, name in enumerate(self.names)}
        for path in find_images([str(self.folder)]):
            parts = path.relative_to(self.folder).parts
            yield path, index.get(plain_name(parts[0]), -1) if len(parts) > 1 else -1


def scenes(folders: Sequence[LabelledFolder]) -> Iterator[tuple[dict[str, Path], int]]:
    """(file by modality, label index) of what has a file of one name in every folder; in the order of the first.

    Files are paired by their path below the folder, without the ending, as `edgefw label` pairs them.
    """
    labels = {path: label for path, label in folders[0].images()}
    for scene in paired({folder.modality: [str(folder.folder)] for folder in folders}):
        if len(scene.files) == len(folders):
            yield dict(scene.files), labels[scene.files[folders[0].modality]]


def parse_data(texts: Sequence[str], modalities: Sequence[str], names: Sequence[str]) -> list[LabelledFolder]:
    """`DIR` (the first modality) or `MODALITY=DIR`, each existing folder once.

    Raises:
        DataError: if a folder's name is empty, there is no such folder or modality, or a modality is given twice.
    """
    folders: list[LabelledFolder] = []
    for text in texts:
        role, path = _split(text, modalities)
        if not os.path.isdir(path):
            raise DataError(f"{text}: there is no folder {path}.")
        if any(known.modality == role for known in folders):
            raise DataError(f"{text}: modality '{role}' is given twice.")
        folders.append(LabelledFolder(modality=role, folder=path, names=names))
    return folders


def _split(text: str, modalities: Sequence[str]) -> tuple[str, Path]:
    role, equals, rest = text.partition("=")
    if not equals or os.path.exists(text):
        role, rest = modalities[0], text
    elif role not in modalities:
        raise DataError(f"{text}: no modality '{role}'. The bundle has: {', '.join(modalities)}.")
    if not rest:  # would be the current folder
        raise DataError(f"{text or 'a folder'}: its name is empty ''. Is a variable not set? Name a folder of images.")
    return role, Path(os.path.expanduser(rest))


def plain_name(name: str) -> str:
    """A label's name without what does not matter: capitals, `_`, `-`, doubled blanks."""
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
