"""Images of two splits that look alike: hashed, compared, counted, and said as a warning.

It looks at the modality that the teacher sees: whatever val and test hold is compared with the kept training samples, and
test with val. It removes nothing: what a near duplicate means is for a person to judge. The comparison is
`edgefw.data.near_duplicates`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.data.loading import read_image
from edgefw.data.near_duplicates import PAIRS, Matches, difference_hash, find_matches
from edgefw.errors import DataError, EdgefwWarning

if TYPE_CHECKING:
    from edgefw.contracts.dataset import Sample
    from edgefw.stages.context import StageContext

HELD_OUT = ("val", "test")
_CHUNK = 64
_EXAMPLES = 20
_CONSEQUENCE = {
    "train": "Numbers on them say little about new scenes.",
    "val": "What is chosen on val, such as a checkpoint or a threshold, was chosen on them.",
}


@dataclass(frozen=True, kw_only=True)
class Hashed:
    """Hashes (N,) uint64 of those samples of a split that have one, and their positions in `samples`."""

    split: str
    samples: Sequence[Sample]
    hashes: np.ndarray
    rows: Sequence[int]

    def id_of(self, index: int) -> str:
        """The id of the sample with the hash at `index`."""
        return self.samples[self.rows[index]].id


def look_for_near_duplicates(context: StageContext, kept: Sequence[Sample], distance: int) -> dict[str, Any]:
    """Compare val and test with the kept training samples, and test with val.

    Returns:
        `distance`, `compared` (images per split), and per key of `PAIRS` `images` and `pairs`; `examples`, the closest
        pairs: the split, the id there, the id in the other split under that split's name, and the distance.
    """
    hashed = {"train": _hashed(context, "train", kept)}
    for split in HELD_OUT:
        hashed[split] = _hashed(context, split, context.pieces.dataset.listing(split).samples)
    compared = {split: len(found.hashes) for split, found in hashed.items()}
    result: dict[str, Any] = {"distance": distance, "compared": compared, "examples": []}
    for split, other, key in PAIRS:
        matches = find_matches(hashed[split].hashes, hashed[other].hashes, distance, _EXAMPLES)
        result[key] = {"images": matches.images, "pairs": matches.pairs}
        examples = _examples(hashed[split], hashed[other], matches)
        result["examples"] += examples
        if matches.images:
            _warn(hashed[split], other, matches.images, examples[0])
    return result


def _examples(mine: Hashed, others: Hashed, matches: Matches) -> list[dict[str, Any]]:
    return [
        {"split": mine.split, "id": mine.id_of(one), others.split: others.id_of(other), "distance": bits}
        for one, other, bits in matches.closest
    ]


def _hashed(context: StageContext, split: str, samples: Sequence[Sample]) -> Hashed:
    name = context.pieces.teacher_modality
    modality = context.pieces.modalities[name]

    def hash_of(sample: Sample) -> int | None:
        try:
            return difference_hash(modality.picture(read_image(sample, name, modality)))
        except DataError:
            return None  # listed as skipped by the stage that uses the split

    found: list[int] = []
    rows: list[int] = []
    with context.progress.bar(f"curate: near duplicates, {split}", len(samples)) as bar:
        for row, value in enumerate(_mapped(hash_of, samples)):
            if value is not None:
                found.append(value)
                rows.append(row)
            bar.update(row + 1)
    return Hashed(split=split, samples=samples, hashes=np.array(found, dtype=np.uint64), rows=rows)


def _mapped(function: Any, samples: Sequence[Sample]) -> Iterator[int | None]:
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        rest = iter(samples)
        while chunk := tuple(islice(rest, _CHUNK)):  # a pool's map takes all of its input at once
            yield from pool.map(function, chunk)


def _warn(mine: Hashed, other: str, images: int, closest: dict[str, Any]) -> None:
    kind = "training" if other == "train" else other
    warnings.warn(
        f"{images} of {len(mine.hashes)} {mine.split} images look like a {kind} image, such as '{closest['id']}' like "
        f"'{closest[other]}' ({closest['distance']} of 64 bits differ). {_CONSEQUENCE[other]} Look at the pairs in "
        "curate/result.json, and split by scene; curate.near_duplicates=null looks for none.",
        EdgefwWarning,
        stacklevel=3,
    )
