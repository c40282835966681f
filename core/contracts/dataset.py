"""A data set: samples with one reference per modality, perhaps a label, perhaps a caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

SPLITS = ("train", "val", "test")


class Reference(Protocol):
    """Where the bytes of one image of one sensor lie. Cheap to hold; nothing is read until `read`.

    One that is neither a `FileReference` nor a `TarReference` may have an attribute `state`: a text that changes when
    the bytes do. A stage that has used it is run again then.
    """

    @property
    def where(self) -> str:
        """What a message calls it: a path, or "shard.tar:member"."""
        ...

    def read(self) -> bytes:
        """The bytes.

        Raises:
            DataError: if they cannot be read.
        """
        ...


@dataclass(frozen=True)
class FileReference:
    """A file on disk."""

    path: Path

    @property
    def where(self) -> str:
        return str(self.path)

    def read(self) -> bytes:
        from edgefw.errors import DataError

        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror or error}).") from error


@dataclass(frozen=True)
class TarReference:
    """A member of an uncompressed tar shard, by position."""

    shard: Path
    member: str
    offset: int
    size: int

    @property
    def where(self) -> str:
        return f"{self.shard}:{self.member}"

    def read(self) -> bytes:
        from edgefw.errors import DataError

        try:
            with self.shard.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise DataError(f"{self.where}: cannot be read ({error.strerror or error}).") from error
        if len(data) != self.size:
            raise DataError(f"{self.where}: the shard ends in the middle of this member.")
        return data


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One scene.

    Attributes:
        id: unique in its split; part of every cache key.
        images: modality name (the recipe's) -> reference; a missing sensor has no entry.
        label: class name, or None.
        caption: a sentence, or None.
    """

    id: str
    images: Mapping[str, Reference]
    label: str | None = None
    caption: str | None = None


@dataclass(frozen=True, kw_only=True)
class Skip:
    """A sample that is left out, with the reason. Skips are counted and listed, never silent."""

    id: str
    where: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The samples of one split, in a fixed order, and what was left out of it."""

    samples: Sequence[Sample]
    skipped: Sequence[Skip] = field(default_factory=tuple)


class Dataset(Protocol):
    """Lists splits. Imports no torch: `verify` and the device side read data with it.

    A data set that makes its samples on first use may define `count(split) -> int`: how many a listing would hold,
    without making them. A plan asks for it.
    """

    classes: tuple[str, ...]
    """Names of the labels in a fixed order; empty for unlabelled data."""
    licence: str

    def listing(self, split: str) -> Listing:
        """The samples of "train", "val" or "test"; an empty listing when there is no such split.

        Raises:
            DataError: if the data cannot be read as the recipe says.
        """
        ...
