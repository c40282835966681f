"""Look at a split once before it is used: what can be read is kept, the rest is listed with its reason.

It knows samples and modalities; it knows no data set, no split fraction and no model. Memory stays small: what is
kept is a list of positions in the data set's own listing, and one chunk of images is decoded at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import overload

import numpy as np

from edgefw.contracts.dataset import Dataset, Listing, Sample, Skip
from edgefw.contracts.modality import Modality
from edgefw.errors import DataError

_CHUNK = 64


class Chosen(Sequence[Sample]):
    """Some samples of a longer sequence, by position; samples are made when they are asked for."""

    def __init__(self, samples: Sequence[Sample], positions: np.ndarray) -> None:
        self._samples = samples
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Chosen: ...
    def __getitem__(self, index: int | slice) -> Sample | Chosen:
        if isinstance(index, slice):
            return Chosen(self._samples, self._positions[index])
        return self._samples[int(self._positions[index])]


def scan(
    dataset: Dataset, split: str, modalities: Mapping[str, Modality], *, decode: bool = True, partly: bool = False
) -> Listing:
    """The usable samples of a split, and everything that was left out of it.

    A sample that lacks some of the modalities is kept; one that lacks all of them, or has an image that cannot be
    decoded, is skipped with the reason.

    Args:
        dataset: lists the split.
        split: "train", "val" or "test".
        modalities: the recipe's modalities; a sample's other images are not looked at.
        decode: decode every image; False only looks at which images there are.
        partly: take a split in which no sample has one of the modalities.

    Raises:
        DataError: if the split is empty, nothing in it is usable, two samples share an id, or no sample has one of
            the modalities and that was not asked for.
    """
    listing = dataset.listing(split)
    if not listing.samples and not listing.skipped:
        raise DataError(f"split '{split}' is empty: the data set lists no sample for it.")
    _refuse_duplicates(listing.samples, split)
    positions: list[int] = []
    skipped = list(listing.skipped)
    for position, reason in enumerate(_reasons(listing.samples, modalities, decode)):
        if reason is None:
            positions.append(position)
        else:
            skipped.append(reason)
    kept = Chosen(listing.samples, np.asarray(positions, np.int64))
    _refuse_nothing(kept, skipped, split)
    if not partly:
        _refuse_absent(kept, split, modalities)
    return Listing(samples=kept, skipped=tuple(skipped))


def _reasons(samples: Sequence[Sample], modalities: Mapping[str, Modality], decode: bool) -> Iterator[Skip | None]:
    def look(sample: Sample) -> Skip | None:
        return _reason(sample, modalities, decode)

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        rest = iter(samples)
        while chunk := tuple(islice(rest, _CHUNK)):  # a pool's map takes all of its input at once
            yield from pool.map(look, chunk)


def _reason(sample: Sample, modalities: Mapping[str, Modality], decode: bool) -> Skip | None:
    present = [name for name in modalities if name in sample.images]
    if not present:
        return Skip(id=sample.id, where=sample.id, reason=f"has no image of {' or '.join(modalities)}")
    for name in present if decode else ():
        reference = sample.images[name]
        try:
            modalities[name].decode(reference.read(), reference.where)
        except DataError as error:
            return Skip(id=sample.id, where=reference.where, reason=_without_place(str(error), reference.where))
    return None


def _without_place(message: str, where: str) -> str:
    return message.removeprefix(f"{where}: ").removesuffix(".")


def _refuse_duplicates(samples: Iterable[Sample], split: str) -> None:
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for sample in samples:
        if sample.id in seen:
            twice[sample.id] = None
        seen.add(sample.id)
    if twice:
        raise DataError(
            f"split '{split}': {len(twice)} sample ids occur more than once, among them {_few(list(twice))}. "
            f"Every sample needs an id of its own."
        )


def _refuse_nothing(kept: Sequence[Sample], skipped: list[Skip], split: str) -> None:
    if not kept:
        first = skipped[0]
        raise DataError(
            f"split '{split}': none of its {len(skipped)} samples can be used. The first one, {first.where}: "
            f"{first.reason}."
        )


def absent(samples: Iterable[Sample], modalities: Iterable[str]) -> list[str]:
    """The modalities that no sample has an image of, sorted."""
    missing = set(modalities)
    for sample in samples:
        missing -= sample.images.keys()
        if not missing:
            break
    return sorted(missing)


def _refuse_absent(kept: Sequence[Sample], split: str, modalities: Mapping[str, Modality]) -> None:
    names = ", ".join(absent(kept, modalities))
    if not names:
        return
    raise DataError(
        f"split '{split}': no sample has an image of modality {names}; they have {', '.join(sorted(kept[0].images))}. "
        f"Drop the modality from the recipe, or tell the data set where its files are."
    )


def _few(names: list[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(f"'{name}'" for name in names[:limit]) + more
