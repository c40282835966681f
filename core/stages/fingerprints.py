"""The inputs of a stage as plain values: options with the state of the files they name, and the state of the data.

Two equal fingerprints mean that a stage would do the same again. Contents are hashed where files are small; large
files and samples count by size and time of change. It knows no stage.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefw.contracts.dataset import FileReference, Sample, TarReference

if TYPE_CHECKING:
    from edgefw.contracts.dataset import Dataset
    from edgefw.recipe.compose import Chosen
    from edgefw.registry.config import TechniqueConfig

_LICENCE = "licence"
"""How the options end that are words for the provenance: `licence`, `text_licence`."""

_SMALL = 16 * 2**20
"""Up to so many bytes a file counts by its contents."""


def digest(value: Any) -> str:
    """A sha256 (hex) of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()


def piece(chosen: Chosen, base: Path) -> dict[str, Any]:
    """A technique by name, module and options, with the state of every file or folder an option names.

    Techniques inside its options stand under `inner`, and a label under `label`, where there are any. A licence that is stated counts as if it were not:
    it changes no answer.
    """
    options = _unlicensed(chosen.config)
    files = {text: file_state(base / os.path.expanduser(text)) for text in sorted(set(_texts(options)))}
    return {
        "name": chosen.technique.name,
        "module": chosen.technique.build.__module__,
        "options": options,
        "files": {text: state for text, state in files.items() if state is not None},
        **({"inner": [piece(each, base) for each in chosen.inner]} if chosen.inner else {}),
        **({"label": chosen.label} if chosen.label else {}),
    }


def _unlicensed(config: TechniqueConfig) -> dict[str, Any]:
    options: dict[str, Any] = config.model_dump(mode="json")
    own = {name: type(config).model_fields[name].default for name in options if name.endswith(_LICENCE)}
    return {**{name: _without_licences(value) for name, value in options.items()}, **own}


def _without_licences(value: Any) -> Any:
    """Options of other techniques, inside an option, as plain values."""
    if isinstance(value, Mapping):
        return {name: _without_licences(item) for name, item in value.items() if not name.endswith(_LICENCE)}
    return [_without_licences(item) for item in value] if isinstance(value, list) else value


def file_state(path: Path) -> Any:
    """What tells a changed file or folder from an unchanged one; None if there is none."""
    try:
        if path.is_dir():
            return sorted([entry.name, _stamp(entry)] for entry in path.iterdir() if entry.is_file())
        if not path.is_file():
            return None
        if path.stat().st_size <= _SMALL:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        return _stamp(path)
    except (OSError, ValueError):
        return None


def data_state(dataset: Dataset, split: str) -> str:
    """A hash of a split as it is listed: ids, labels, captions, and where the bytes are; nothing is decoded."""
    running = hashlib.sha256()
    stamps: dict[Path, Any] = {}
    for sample in dataset.listing(split).samples:
        running.update(digest(_sample(sample, stamps)).encode())
    return running.hexdigest()


def _sample(sample: Sample, stamps: dict[Path, Any]) -> list[Any]:
    images = {name: _reference(reference, stamps) for name, reference in sample.images.items()}
    return [sample.id, sample.label, sample.caption, images]


def _reference(reference: Any, stamps: dict[Path, Any]) -> list[Any]:
    """Where, and the stamp of the file behind it; a shard is looked at once."""
    if isinstance(reference, FileReference):
        return [reference.where, _stamp(reference.path)]
    if isinstance(reference, TarReference):
        if reference.shard not in stamps:
            stamps[reference.shard] = _stamp(reference.shard)
        return [reference.where, reference.offset, reference.size, stamps[reference.shard]]
    return [reference.where, getattr(reference, "state", None)]


def _stamp(path: Path) -> Any:
    try:
        state = path.stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value and len(value) < 4096 and "\0" not in value:
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
