"""Held-out images that look like a training image: hashed, compared, counted, and said as a warning.

It looks at the modality that the teacher sees, at kept training samples, and at whatever val and test hold. It removes
nothing: what a near duplicate means is for a person to judge. The comparison is `edgefw.data.near_duplicates`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.data.loading import read_image
from edgefw.data.near_duplicates import Matches, difference_hash, find_matches
from edgefw.errors import DataError, EdgefwWarning

if TYPE_CHECKING:
    from edgefw.contracts.dataset import Sample
    from edgefw.stages.context import StageContext

HELD_OUT = ("val", "test")
_CHUNK = 64
_EXAMPLES = 20


def look_for_near_duplicates(context: StageContext, kept: Sequence[Sample], distance: int) -> dict[str, Any]:
    """Compare val and test with the kept training samples.

    Returns:
        `distance`, `compared` (images per split), and per held-out split `images` and `pairs`; `examples`, the closest
        pairs with ids and distance.
    """
    train, train_rows = _hashes(context, "train", kept)
    found: dict[str, Any] = {"distance": distance, "compared": {"train": len(train)}, "examples": []}
    for split in HELD_OUT:
        samples = context.pieces.dataset.listing(split).samples
        hashes, rows = _hashes(context, split, samples)
        matches = find_matches(hashes, train, distance, _EXAMPLES)
        found["compared"][split] = len(hashes)
        found[split] = {"images": matches.images, "pairs": matches.pairs}
        examples = [
            {"split": split, "id": samples[rows[mine]].id, "train": kept[train_rows[other]].id, "distance": bits}
            for mine, other, bits in matches.closest
        ]
        found["examples"] += examples
        _warn(split, matches, len(hashes), examples)
    return found


def _hashes(context: StageContext, split: str, samples: Sequence[Sample]) -> tuple[np.ndarray, list[int]]:
    """Hashes (N,) uint64 of the images that have one, and their positions in `samples`."""
    name = context.pieces.teacher_modality
    modality = context.pieces.modalities[name]

    def hashed(sample: Sample) -> int | None:
        try:
            return difference_hash(modality.picture(read_image(sample, name, modality)))
        except DataError:
            return None  # listed as skipped by the stage that uses the split

    found: list[int] = []
    rows: list[int] = []
    with context.progress.bar(f"curate: near duplicates, {split}", len(samples)) as bar:
        for row, value in enumerate(_mapped(hashed, samples)):
            if value is not None:
                found.append(value)
                rows.append(row)
            bar.update(row + 1)
    return np.array(found, dtype=np.uint64), rows


def _mapped(function: Any, samples: Sequence[Sample]) -> Iterator[int | None]:
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        rest = iter(samples)
        while chunk := tuple(islice(rest, _CHUNK)):  # a pool's map takes all of its input at once
            yield from pool.map(function, chunk)


def _warn(split: str, matches: Matches, total: int, examples: Sequence[dict[str, Any]]) -> None:
    if not matches.images:
        return
    first = examples[0]
    warnings.warn(
        f"{matches.images} of {total} {split} images look like a training image, such as '{first['id']}' like "
        f"'{first['train']}' ({first['distance']} of 64 bits differ). Numbers on them say little about new scenes. Look at "
        "the pairs in curate/result.json, and split by scene; curate.near_duplicates=null looks for none.",
        EdgefwWarning,
        stacklevel=3,
    )
