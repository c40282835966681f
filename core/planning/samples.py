"""How many samples there are, in which splits, with which modalities and labels; and whether they can be read at all.

Images are not decoded, but for the first few of each modality. A data set that makes its samples is asked how many it
would make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.dataset import SPLITS
from edgefw.data.listing import scan
from edgefw.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgefw.contracts.dataset import Listing, Sample
    from edgefw.contracts.student import InputSpec
    from edgefw.pieces import Pieces

_TRIED = 8


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """One split.

    Attributes:
        samples: usable samples; those that will be skipped for an image that cannot be decoded are still among them.
        skipped: samples that are left out already.
        modalities: modality -> samples that have it.
        visible: samples with an image for the teacher.
        label: (visible,) int64 index into the evaluation labels, -1 without one; None when no sample has one.
        listing: the samples; None for data that is made on first use.
    """

    samples: int
    skipped: int = 0
    modalities: Mapping[str, int] = field(default_factory=dict)
    visible: int = 0
    label: np.ndarray | None = None
    listing: Listing | None = None

    def to_json(self) -> dict[str, Any]:
        """Counts only."""
        labelled = 0 if self.label is None else int((self.label >= 0).sum())
        return {
            "samples": self.samples,
            "skipped": self.skipped,
            "labelled": labelled,
            "modalities": dict(self.modalities),
        }


def splits(pieces: Pieces, labels: Sequence[str]) -> dict[str, SplitFacts]:
    """The facts of train, val and test.

    Raises:
        DataError: if there is no training sample, or a split cannot be used.
    """
    facts = {split: _facts(pieces, split, labels) for split in SPLITS}
    if not facts["train"].samples:
        scan(pieces.dataset, "train", pieces.modalities, decode=False)  # says why
        raise DataError("split 'train' is empty: the data set makes no sample for it.")
    if not facts["train"].visible:
        raise DataError(f"no training sample has an image of '{pieces.teacher_modality}' for the teacher to look at.")
    return facts


def _facts(pieces: Pieces, split: str, labels: Sequence[str]) -> SplitFacts:
    count = getattr(pieces.dataset, "count", None)
    if count is not None:
        return _made(pieces, int(count(split)), len(labels))
    listing = pieces.dataset.listing(split)
    if not listing.samples and not listing.skipped:
        return SplitFacts(samples=0)
    listing = scan(pieces.dataset, split, pieces.modalities, decode=False)
    visible = [sample for sample in listing.samples if pieces.teacher_modality in sample.images]
    index = {name: number for number, name in enumerate(labels)}
    label = np.array([index.get(sample.label or "", -1) for sample in visible], dtype=np.int64)
    return SplitFacts(
        samples=len(listing.samples),
        skipped=len(listing.skipped),
        modalities={name: sum(name in sample.images for sample in listing.samples) for name in pieces.modalities},
        visible=len(visible),
        label=label if (label >= 0).any() else None,
        listing=listing,
    )


def _made(pieces: Pieces, count: int, labels: int) -> SplitFacts:
    return SplitFacts(
        samples=count,
        modalities=dict.fromkeys(pieces.modalities, count),
        visible=count,
        label=np.arange(count, dtype=np.int64) % labels if labels and count else None,
    )


def check_first_images(pieces: Pieces, facts: SplitFacts, inputs: Mapping[str, InputSpec]) -> None:
    """Decode and preprocess one image of each modality; `inputs` is what the network takes of it.

    Raises:
        DataError: if none of the first images of a modality can be decoded, or they do not become the student's input.
    """
    for name, modality in pieces.modalities.items() if facts.listing else ():
        first = [sample for sample in facts.listing.samples if name in sample.images][:_TRIED]  # type: ignore[union-attr]
        values = _first_readable(first, name, modality)
        input = inputs[name]
        shape, wanted = modality.preprocessing(input)(values).shape, (input.channels, input.size, input.size)
        if shape != wanted:
            raise DataError(
                f"modalities.{name}: preprocessing gives {_by(shape)} numbers, the student takes {_by(wanted)}. "
                f"Choose another encoding of '{name}', or a student that takes such an input."
            )


def _first_readable(samples: Sequence[Sample], name: str, modality: Any) -> Any:
    failure: DataError | None = None
    for sample in samples:
        try:
            return modality.decode(sample.images[name].read(), sample.images[name].where)
        except DataError as error:
            failure = failure or error
    raise DataError(f"modalities.{name}: none of the first {len(samples)} images can be read. {failure}") from failure


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
