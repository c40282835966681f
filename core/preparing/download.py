"""What a layout finds in a download: samples with one image per sensor, and everything that is wrong with it.

A layout is a module of this folder with an options model and a function that reads a source. It decides ids, splits and
labels; it copies nothing. It knows no technique: the lines of YAML that it gives name data and modalities by their words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgefw.data.splits import hashed_place
from edgefw.registry.config import TechniqueConfig


class Unreadable(ValueError):
    """An image that cannot be used; the text is the reason."""


class Image(Protocol):
    """One image of a download."""

    @property
    def where(self) -> str:
        """What a message calls it."""
        ...

    @property
    def ending(self) -> str:
        """Ending of the file that `write` makes, with the dot."""
        ...

    def write(self, target: Path) -> None:
        """Check the image and write it.

        Raises:
            Unreadable: if it cannot be used.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Item:
    """One sample.

    Attributes:
        name: unique in its split; a path with slashes, without an ending.
        split: train, val or test.
        label: its class, or None.
        images: modality -> image.
        label_set: gives all classes that the image shows, where it may show several; else None. It is called when the
            sample is written, and raises `Unreadable` if what it reads cannot be used.
    """

    name: str
    split: str
    label: str | None
    images: Mapping[str, Image]
    label_set: Callable[[], Sequence[str]] | None = None

    @property
    def id(self) -> str:
        """The name below its split."""
        return f"{self.split}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Broken:
    """Something of the download that cannot be used, with the reason."""

    where: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Download:
    """All of a download.

    Attributes:
        items: the samples, in a fixed order.
        classes: class names in a fixed order; labels are among them.
        modalities: modality -> its piece of a recipe, as YAML.
        broken: what cannot be used; images are looked at later.
        left_out: reason -> number of samples that are left out on purpose.
        notes: what a person should know, such as a number that is not the usual one.
        licence: terms of the data.
        template: prompt for the class names; {} is a name, {a} its a or an.
    """

    items: Sequence[Item]
    classes: tuple[str, ...]
    modalities: Mapping[str, str]
    broken: Sequence[Broken] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    licence: str = "unknown"
    template: str = "a photo of {a} {}"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One known download: its options, and the function that reads a source with them."""

    options: type[TechniqueConfig]
    read: Callable[[Path, Any], Download]


def drawn_val(group: str, share: float, seed: int) -> str:
    """ "val" for a share of the training samples, by a hash of what stays together, else "train"."""
    return "val" if hashed_place(group, seed) < share else "train"


def unusual_counts(found: Mapping[str, int], usual: Mapping[str, int]) -> list[str]:
    """A note for each official split that does not hold its published number of images."""
    return [note for split, count in usual.items() for note in unusual_count(found[split], count, f"{split} images")]


def unusual_count(found: int, usual: int, what: str) -> list[str]:
    """A note when a download does not hold the published number of something."""
    return [] if found == usual else [f"{found:,} {what}; the whole download has {usual:,}."]
