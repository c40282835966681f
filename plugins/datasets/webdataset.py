"""WebDataset tar shards on a local disk, read by position.

Members are grouped as the webdataset library does it: the key is the path up to the first dot of the file name, the
ending is what follows, in lower case; members of a sample lie next to each other; `__meta__` files are left out. Any
sample can be read at any time through an index of positions (see `edgefw.data.tar_index`), so that shuffling is exact,
a resumed run reads what it would have read, and a sample costs a few hundred bytes of memory. Remote and compressed
shards are not read, and the webdataset library is not needed.

Labels come from a member (`cls`, `txt`), or a field of a JSON member (`json:class`): a class name, or a number that
counts the `classes` from 0. The id of a sample is its shard's name and its key.
"""

from __future__ import annotations

import json
import re
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, overload

import numpy as np
from pydantic import Field

import edgefw
from edgefw.contracts.dataset import Listing, Sample, Skip, TarReference
from edgefw.data.class_names import UnknownLabel, class_of, found_classes, read_classes
from edgefw.data.file_patterns import matching_files
from edgefw.data.tar_index import TarIndex, index_tar
from edgefw.errors import DataError, EdgefwError, RecipeError

if TYPE_CHECKING:
    from edgefw.registry.technique import Register

_NAME = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
_CAPTION = ""  # no modality has this name
_META = re.compile(r"__[^/]*__($|/)")


class WebDatasetConfig(edgefw.TechniqueConfig):
    """Which shards make a split, and which member is what."""

    root: str = Field(default=".", description="folder that shard patterns and the classes file start from")
    shards: dict[Literal["train", "val", "test"], str | tuple[str, ...]] = Field(
        min_length=1, description="split -> shard pattern(s), such as train-{000000..000009}.tar or test-*.tar"
    )
    members: dict[str, str] = Field(
        default={"rgb": "jpg;jpeg;png"}, min_length=1, description="modality -> ending of its member; a;b tries both"
    )
    label: str | None = Field(default=None, description="ending of the label's member, such as cls or json:class")
    caption: str | None = Field(default=None, description="ending of the caption's member, such as txt or json:text")
    classes: str | tuple[str, ...] | None = Field(
        default=None, description="class names: a file or a list; null: the labels that occur"
    )
    licence: str = Field(default="unknown", description="licence of the data, for the provenance")


class Refused(ValueError):
    """A sample that is left out; the text is the reason to list."""


@dataclass(frozen=True)
class ShardTable:
    """The N samples of a split, without their images.

    Attributes:
        shards: the files, in order.
        endings: modality ("" for the caption) -> endings that its member may have, the preferred one first.
        shard: (N,) which of the shards.
        keys: N keys.
        labels: N class names, None without one.
        places: (N, roles, 3) int64 per role of `endings`: which ending (-1: no member), offset, size.
    """

    shards: list[Path]
    endings: dict[str, tuple[str, ...]]
    shard: np.ndarray
    keys: list[str]
    labels: list[str | None]
    places: np.ndarray

    def id(self, index: int) -> str:
        """Name of the shard and key of the sample."""
        return f"{self.shards[self.shard[index]].stem}/{self.keys[index]}"

    def references(self, index: int) -> dict[str, TarReference]:
        """The members of a sample, by role."""
        shard, key = self.shards[self.shard[index]], self.keys[index]
        found = zip(self.endings.items(), self.places[index].tolist())
        return {
            role: TarReference(shard, f"{key}.{endings[which]}", offset, size)
            for (role, endings), (which, offset, size) in found
            if which >= 0
        }


class ShardSamples(Sequence[Sample]):
    """Samples of a table, made when they are asked for; a caption is read from its shard then, not kept."""

    def __init__(self, table: ShardTable, caption_field: str, positions: range | None = None) -> None:
        self._table, self._caption_field = table, caption_field
        self._positions = range(len(table.keys)) if positions is None else positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> ShardSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | ShardSamples:
        if isinstance(index, slice):
            return ShardSamples(self._table, self._caption_field, self._positions[index])
        position = self._positions[index]
        images = self._table.references(position)
        caption = self._caption(images.pop(_CAPTION, None))
        return Sample(id=self._table.id(position), images=images, label=self._table.labels[position], caption=caption)

    def _caption(self, reference: TarReference | None) -> str | None:
        if reference is None:
            return None
        try:
            return text_of(reference.read(), self._caption_field).strip() or None
        except Refused as refused:
            raise DataError(f"{reference.where}: {refused}.") from refused


class WebDataset:
    """Samples of tar shards, see `edgefw.contracts.dataset.Dataset`."""

    def __init__(
        self, config: WebDatasetConfig, shards: dict[str, list[Path]], cache: Path, names: tuple[str, ...]
    ) -> None:
        self.config, self.shards, self.cache = config, shards, cache
        self.licence = config.licence
        self._names = names
        self._tables: dict[str, tuple[ShardTable, tuple[Skip, ...]]] = {}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The configured classes, or the labels that occur in any split."""
        if self._names:
            return self._names
        labels = (label for split in self.shards for label in self._table(split)[0].labels)
        return found_classes(label for label in labels if label is not None)

    def listing(self, split: str) -> Listing:
        """The samples of a split in the shards' order."""
        if split not in self.shards:
            return Listing(samples=())
        table, skipped = self._table(split)
        return Listing(samples=ShardSamples(table, _field(self.config.caption)), skipped=skipped)

    def _table(self, split: str) -> tuple[ShardTable, tuple[Skip, ...]]:
        if split not in self._tables:
            self._tables[split] = self._read(self.shards[split])
        return self._tables[split]

    def _read(self, shards: list[Path]) -> tuple[ShardTable, tuple[Skip, ...]]:
        endings = self._endings()
        shard, places = array("i"), array("q")
        keys: list[str] = []
        labels: list[str | None] = []
        skipped: list[Skip] = []
        for number, path in enumerate(shards):
            index = index_tar(path, self.cache)
            with path.open("rb") as file:
                for key, members in grouped(index):
                    try:
                        label = self._label(file, index, key, members)
                        self._text(file, index, members, self.config.caption)
                    except Refused as refused:
                        skipped.append(_skip(path, key, str(refused)))
                        continue
                    labels.append(label)
                    keys.append(key)
                    shard.append(number)
                    places.extend(_places(index, members, endings))
        cube = np.array(places, np.int64).reshape(len(keys), len(endings), 3)
        return ShardTable(shards, endings, np.array(shard, np.int32), keys, labels, cube), tuple(skipped)

    def _endings(self) -> dict[str, tuple[str, ...]]:
        roles = dict(self.config.members)
        if self.config.caption:
            roles[_CAPTION] = _ending(self.config.caption)
        return {role: tuple(ending.lower() for ending in text.split(";")) for role, text in roles.items()}

    def _label(self, file: BinaryIO, index: TarIndex, key: str, members: Mapping[str, int]) -> str | None:
        if not _is_text(key):
            raise Refused("the name is not UTF-8")
        text = self._text(file, index, members, self.config.label)
        if text is None:
            return None
        try:
            return sys.intern(class_of(text, self._names))
        except UnknownLabel as error:
            raise Refused(str(error)) from error

    def _text(self, file: BinaryIO, index: TarIndex, members: Mapping[str, int], wanted: str | None) -> str | None:
        number = members.get(_ending(wanted or ""))
        if wanted is None or number is None:
            return None
        file.seek(int(index.offset[number]))
        return text_of(file.read(int(index.size[number])), _field(wanted))


def grouped(index: TarIndex) -> Iterator[tuple[str, dict[str, int]]]:
    """(key, {ending: member's number}) of each sample of a shard, by the webdataset library's rule.

    Raises:
        DataError: if a sample has two members of one ending.
    """
    key, members = None, dict[str, int]()
    for number, name in enumerate(index.names):
        match = None if _META.match(name) else _NAME.match(name)
        if match is None:
            continue
        if match[1] != key:
            if key is not None:
                yield key, members
            key, members = match[1], {}
        ending = match[2].lower()
        if ending in members:
            raise DataError(f"{index.shard}: sample '{key}' has two members '.{ending}'. Pack the shard anew.")
        members[ending] = number
    if key is not None:
        yield key, members


def text_of(data: bytes, field: str) -> str:
    """The text of a member, or of a field of a JSON member; dots lead into inner objects.

    Raises:
        Refused: if the bytes are no UTF-8, no JSON, or have no such field.
    """
    try:
        text = data.decode("utf-8-sig")
        value: Any = json.loads(text) if field else text
        for part in field.split(".") if field else ():
            value = value[part]
    except UnicodeDecodeError as error:
        raise Refused("the text is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"the JSON cannot be read ({error})") from error
    except (KeyError, TypeError) as error:
        raise Refused(f"the JSON has no field '{field}'") from error
    if isinstance(value, (dict, list)) or value is None:
        raise Refused(f"the JSON field '{field}' is no text and no number")
    return str(value)


def _places(index: TarIndex, members: Mapping[str, int], endings: Mapping[str, tuple[str, ...]]) -> list[int]:
    places: list[int] = []
    for alternatives in endings.values():
        which = next((number for number, ending in enumerate(alternatives) if ending in members), -1)
        member = members[alternatives[which]] if which >= 0 else -1
        places += [which, int(index.offset[member]), int(index.size[member])] if which >= 0 else [-1, 0, 0]
    return places


def _skip(shard: Path, key: str, reason: str) -> Skip:
    name = key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return Skip(id=f"{shard.stem}/{name}", where=f"{shard}:{name}", reason=reason)


def _is_text(key: str) -> bool:
    try:
        return bool(key.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def _ending(text: str) -> str:
    return text.partition(":")[0].lower()


def _field(text: str | None) -> str:
    return (text or "").partition(":")[2]


def build(config: WebDatasetConfig, context: edgefw.BuildContext) -> WebDataset:
    """The data set; shards are indexed on first use of their split.

    Raises:
        DataError: if a pattern names no file, or one shard belongs to two splits.
        RecipeError: if the classes cannot be read, or members names no modality of the recipe.
    """
    root = context.resolve(config.root)
    shards: dict[str, list[Path]] = {split: _shards(patterns, root, f"{context.path}.shards.{split}") for split, patterns in config.shards.items()}  # fmt: skip
    _refuse_shared(shards, context.path)
    unknown = [name for name in config.members if context.modalities and name not in context.modalities]
    if unknown:
        names = ", ".join(context.modalities)
        raise RecipeError(f"{context.path}.members: '{unknown[0]}' is none of the recipe's modalities: {names}.")
    listed = list(config.classes) if isinstance(config.classes, tuple) else config.classes
    classes = read_classes(listed, root, f"{context.path}.classes") if listed else ()
    return WebDataset(config, shards, context.cache, classes)


def _shards(patterns: str | tuple[str, ...], root: Path, path: str) -> list[Path]:
    try:
        return matching_files(patterns, root)
    except EdgefwError as error:
        raise type(error)(f"{path}: {error}") from error


def _refuse_shared(shards: Mapping[str, list[Path]], path: str) -> None:
    owner: dict[Path, str] = {}
    for split, files in shards.items():
        for file in files:
            other = owner.setdefault(file.resolve(), split)
            if other != split:
                raise DataError(f"{path}.shards: {file} is in {other} and in {split}. Splits must not share samples.")


@edgefw.hookimpl
def edgefw_register_datasets(register: Register) -> None:
    """Offer `webdataset`."""
    register(edgefw.Technique(name="webdataset", config=WebDatasetConfig, build=build))
