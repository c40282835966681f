"""Rows of a batch: every image that is present, beside the target of its sample.

Schemes that run one network over images of any modality share this. It knows the records of the contracts, and neither
which modalities there are nor what a loss does with the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgefw.contracts.loss import LossInput
from edgefw.contracts.scheme import Batch
from edgefw.contracts.teacher import TeacherOutput
from edgefw.errors import TrainingError


def forward_rows(network: nn.Module, batch: Batch, modalities: Sequence[str], order: Sequence[str]) -> LossInput:
    """One pass over all present images of `modalities`, modality by modality, in one batch of R rows.

    Args:
        network: pixels (R, C, S, S) to a `StudentOutput`.
        batch: images, presence and targets of B samples.
        modalities: the modalities to use; all their images have one shape.
        order: the recipe's modalities; a row's `modality` is an index into it.

    Raises:
        TrainingError: if no sample of the batch has any of the modalities.
    """
    index, modality = _present(batch, modalities, order)
    if not len(index):
        raise TrainingError(
            f"no sample of a batch has {' or '.join(modalities)}. "
            "Leave out samples without it, use larger batches, or train on the modalities that the data has."
        )
    pixels = torch.cat([batch.images[name][batch.present[name]] for name in modalities])  # (R, C, S, S)
    reference = None
    if batch.reference is not None:
        with torch.no_grad():
            reference = batch.reference(pixels)
    return LossInput(
        student=network(pixels),
        teacher=_rows_of(batch.teacher, index),
        modality=modality,
        sample=batch.sample[index],
        label=batch.label[index],
        logit_scale=batch.logit_scale,
        text=batch.text,
        reference=reference,
        role=batch.role[index],
        group=batch.group[index],
    )


def _present(batch: Batch, modalities: Sequence[str], order: Sequence[str]) -> tuple[Tensor, Tensor]:
    """For each row, which sample of the batch it shows (R,), and which modality of the recipe it is (R,)."""
    rows = [batch.present[name].nonzero().squeeze(1) for name in modalities]
    kinds = [torch.full_like(found, order.index(name)) for name, found in zip(modalities, rows)]
    return torch.cat(rows), torch.cat(kinds)


def _rows_of(output: TeacherOutput, index: Tensor) -> TeacherOutput:
    def take(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[index]

    return TeacherOutput(
        embedding=output.embedding[index],
        tokens=take(output.tokens),
        queries=take(output.queries),
        keys=take(output.keys),
        values=take(output.values),
    )
