"""The table of embeddings that a mining sampler reads: what the student says now about every training sample.

It is made at the start of an epoch from that epoch's views of the teacher's modality, and kept in the folder until
the next one, so that a run resumed in the middle of an epoch mines from the same numbers.
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

    from edgefw.contracts.scheme import Scheme
    from edgefw.data.batches import StepSource


def table_with_embeddings(path: Path, source: StepSource) -> SampleTable:
    """The sample table with the memory-mapped embeddings of `path`."""
    return SampleTable(size=len(source.ids), label=source.labels, embedding=np.load(path, mmap_mode="r"))


def mining_file(folder: Path, epoch: int) -> Path:
    """Where the embeddings of an epoch lie."""
    return folder / "mining" / f"epoch-{epoch:05d}.npy"


@torch.no_grad()
def write_embeddings(
    path: Path, network: nn.Module, scheme: Scheme, source: StepSource, epoch: int, batch: int, device: torch.device
) -> None:
    """Write the unit embeddings (N, D) float32 of all samples, and remove those of earlier epochs."""
    was_training = network.training
    network.eval()
    rows = []
    for first in range(0, len(source.ids), batch):
        picks = [Pick(index=index) for index in range(first, min(first + batch, len(source.ids)))]
        pixels = source.load(picks, epoch, False).images[source.teacher_modality].to(device)
        embedding = scheme.embed(network, source.teacher_modality, pixels)
        rows.append(functional.normalize(embedding.float(), dim=-1).cpu().numpy())
    network.train(was_training)
    write_file(path, lambda temporary: _save(temporary, np.concatenate(rows)))
    for older in path.parent.glob("epoch-*.npy"):
        if older != path:
            older.unlink()


def _save(path: Path, table: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, table)
