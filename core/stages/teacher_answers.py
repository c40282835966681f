"""What the teacher says of samples as evaluation shows them: its cache is filled first, and read part by part.

An answer depends on the picture and the teacher alone, so runs that share a cache ask once, whatever they train.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgefw.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgefw.contracts.dataset import Sample
    from edgefw.data.teacher_cache import TeacherCache
    from edgefw.stages.context import StageContext


def teacher_embeddings(
    context: StageContext, samples: Sequence[Sample], modality: str, what: str, *, alone: bool = False
) -> Iterator[np.ndarray]:
    """Unit embeddings (n, D) of the samples' images of one modality, part by part, memory-mapped from the cache.

    Args:
        samples: each has the modality.
        what: words for the progress bar.
        alone: this process asks for itself; otherwise all processes of the run share the work and must call this.

    Raises:
        DataError: if a part of the cache is lost while it is used.
    """
    from edgefw.data.teacher_cache import read_shard

    cache = _filled(context, samples, modality, what, alone)
    for number, path in enumerate(cache.shard_paths()):
        shard = read_shard(path, cache.digest, cache.span(number))
        if shard is None:
            raise DataError(f"{path}: this part of the teacher cache was lost while it was used. Run again.")
        yield shard["embedding"][:, 0].numpy()


def _filled(context: StageContext, samples: Sequence[Sample], modality: str, what: str, alone: bool) -> TeacherCache:
    from edgefw.data.batches import TrainingData
    from edgefw.data.teacher_cache import TeacherCache

    pieces, processes = context.pieces, context.processes
    source = TrainingData(
        samples=samples,
        sensors={modality: pieces.modalities[modality]},
        input=pieces.inputs[modality],
        teacher=pieces.teacher,
        teacher_modality=modality,
    )
    cache = TeacherCache(folder=pieces.cache, teacher=pieces.teacher, source=source, device=processes.torch_device())
    with context.progress.bar(what, len(samples)) as bar:
        cache.fill(
            rank=0 if alone else processes.rank,
            world=1 if alone else processes.count,
            workers=context.recipe.config.compute.workers,
            progress=lambda done, _: bar.update(done),
        )
    if not alone:
        processes.wait()
    return cache


class TeacherAnswers:
    """The teacher's answers about the samples that have a modality, by position among all of them.

    Args:
        samples: the held-out samples; those without the modality are passed over.
        modality: whose picture the teacher is shown.
    """

    def __init__(self, context: StageContext, samples: Sequence[Sample], modality: str) -> None:
        there = [row for row, sample in enumerate(samples) if modality in sample.images]
        what = f"verify: teacher looks at {modality}"
        shown = [samples[row] for row in there]
        self._parts = list(teacher_embeddings(context, shown, modality, what, alone=True)) if shown else []
        self._rows = self._parts[0].shape[0] if self._parts else 1
        self._place = {row: place for place, row in enumerate(there)}

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings (B, D) of the samples at `rows` (B,), which have the modality."""
        places = [divmod(self._place[int(row)], self._rows) for row in rows]
        return np.stack([self._parts[part][row] for part, row in places])
