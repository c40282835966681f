"""The table of embeddings that a mining sampler reads: what the student says now about every training sample.

It is made at the start of an epoch from that epoch's views of the teacher's modality, and kept in the folder until a
checkpoint lies after that epoch, so that a run resumed in the middle of an epoch mines from the same numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from edgefw.contracts.sampler import Pick, SampleTable
from edgefw.data.atomic_files import write_file

if TYPE_CHECKING:
    from torch import nn

    from edgefw.contracts.sampler import Sampler
    from edgefw.contracts.scheme import Scheme
    from edgefw.data.batches import StepSource


_IMAGES = 32
"""So many images are embedded at a time: a batch counts anchors, and may be a few images only."""


def table_with_embeddings(path: Path, source: StepSource) -> SampleTable:
    """The sample table with the memory-mapped embeddings of `path`."""
    return SampleTable(size=len(source.ids), label=source.labels, embedding=np.load(path, mmap_mode="r"))


def mining_file(folder: Path, epoch: int) -> Path:
    """Where the embeddings of an epoch lie."""
    return folder / "mining" / f"epoch-{epoch:05d}.npy"


def remove_tables(folder: Path, *, before: int = 0, after: int | None = None) -> None:
    """Remove the embeddings of epochs below `before`, and of those above `after`."""
    for path in (folder / "mining").glob("epoch-*.npy"):
        epoch = int(path.stem.removeprefix("epoch-"))
        if epoch < before or (after is not None and epoch > after):
            path.unlink(missing_ok=True)


@torch.no_grad()
def write_embeddings(
    path: Path,
    network: nn.Module,
    scheme: Scheme,
    source: StepSource,
    *,
    epoch: int,
    device: torch.device,
    unit: bool = True,
) -> None:
    """Write the embeddings (N, D) float32 of all samples; of unit length, or as the network gives them."""
    was_training = network.training
    network.eval()
    rows = []
    for first in range(0, len(source.ids), _IMAGES):
        picks = [Pick(index=index) for index in range(first, min(first + _IMAGES, len(source.ids)))]
        pixels = source.load(picks, epoch, False).images[source.teacher_modality].to(device)
        embedding = scheme.embed(network, source.teacher_modality, pixels).float()
        rows.append((functional.normalize(embedding, dim=-1) if unit else embedding).cpu().numpy())
    network.train(was_training)
    write_file(path, lambda temporary: _save(temporary, np.concatenate(rows)))


def wants_unit(sampler: Sampler) -> bool:
    """Whether a sampler mines among embeddings of unit length."""
    return bool(getattr(sampler, "unit_embeddings", True))


def _save(path: Path, table: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, table)
