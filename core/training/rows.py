"""Rows of a batch: every image that is present, beside the target of its sample.

Schemes that run one network over images of any modality share this. It knows the records of the contracts, and neither
which modalities there are nor what a loss does with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from edgefw.contracts.loss import LossInput
from edgefw.contracts.scheme import Batch
from edgefw.contracts.student import StudentOutput
from edgefw.contracts.teacher import TeacherOutput
from edgefw.errors import TrainingError


def forward_rows(
    network: Callable[[Tensor], StudentOutput], batch: Batch, modalities: Sequence[str], order: Sequence[str]
) -> LossInput:
    """One pass over all present images of `modalities`, modality by modality, in one batch of R rows.

    Args:
        network: pixels (R, C, S, S) to a `StudentOutput`.
        batch: images, presence and targets of B samples.
        modalities: the modalities to use; all their images have one shape.
        order: the recipe's modalities; a row's `modality` is an index into it.

    Raises:
        TrainingError: if no sample of the batch has any of the modalities.
    """
    rows = _Whole(batch, modalities) if _all_present(batch, modalities) else _Some(batch, modalities)
    if not rows.count:
        raise TrainingError(
            f"no sample of a batch has {' or '.join(modalities)}. "
            "Give it others: what a scheme's `uses` refuses is left out of its phase."
        )
    pixels = rows.pixels()  # (R, C, S, S)
    reference = None
    if batch.reference is not None:
        with torch.no_grad():
            reference = batch.reference(pixels)
    return LossInput(
        student=network(pixels),
        teacher=rows.teacher(),
        modality=rows.modality(order),
        sample=rows.take(batch.sample),
        label=rows.take(batch.label),
        logit_scale=batch.logit_scale,
        text=batch.text,
        reference=reference,
        role=rows.take(batch.role),
        group=rows.take(batch.group),
    )


def _all_present(batch: Batch, modalities: Sequence[str]) -> bool:
    return all(bool(batch.present[name].all()) for name in modalities)


class _Whole:
    """The rows of a batch that lacks no image: the samples, once per modality. Copies nothing for one modality."""

    def __init__(self, batch: Batch, modalities: Sequence[str]) -> None:
        self._batch = batch
        self._modalities = modalities
        self.count = len(batch.sample) * len(modalities)

    def pixels(self) -> Tensor:
        images = [self._batch.images[name] for name in self._modalities]
        return images[0] if len(images) == 1 else torch.cat(images)

    def take(self, values: Tensor) -> Tensor:
        return values if len(self._modalities) == 1 else torch.cat([values] * len(self._modalities))

    def teacher(self) -> TeacherOutput:
        return self._batch.teacher if len(self._modalities) == 1 else _rows_of(self._batch.teacher, self.take)

    def modality(self, order: Sequence[str]) -> Tensor:
        return _kinds(len(self._batch.sample), tuple(map(order.index, self._modalities)), self._batch.sample.device)


@lru_cache(maxsize=16)
def _kinds(samples: int, kinds: tuple[int, ...], device: torch.device) -> Tensor:
    """(samples x kinds,) int64: 0 0 0 1 1 1; the same tensor in every step, to be read only."""
    return torch.tensor(kinds, device=device).repeat_interleave(samples)


class _Some:
    """The rows of a batch in which images are missing."""

    def __init__(self, batch: Batch, modalities: Sequence[str]) -> None:
        self._batch = batch
        self._modalities = modalities
        self._found = [batch.present[name].nonzero().squeeze(1) for name in modalities]
        self._index = torch.cat(self._found)  # (R,), which sample of the batch a row shows
        self.count = len(self._index)

    def pixels(self) -> Tensor:
        return torch.cat([self._batch.images[name][at] for name, at in zip(self._modalities, self._found)])

    def take(self, values: Tensor) -> Tensor:
        return values[self._index]

    def teacher(self) -> TeacherOutput:
        return _rows_of(self._batch.teacher, self.take)

    def modality(self, order: Sequence[str]) -> Tensor:
        return torch.cat([torch.full_like(at, order.index(name)) for name, at in zip(self._modalities, self._found)])


def _rows_of(output: TeacherOutput, take: Callable[[Tensor], Tensor]) -> TeacherOutput:
    def perhaps(values: Tensor | None) -> Tensor | None:
        return None if values is None else take(values)

    return TeacherOutput(
        embedding=take(output.embedding),
        tokens=perhaps(output.tokens),
        queries=perhaps(output.queries),
        keys=perhaps(output.keys),
        values=perhaps(output.values),
    )


def rows_of_modality(rows: LossInput, kind: int, keep: Tensor) -> StudentOutput:
    """What the student says about images of one modality; without the attention, whose rows are those of both.

    Args:
        rows: of a batch, as `forward_rows` gives them.
        kind: the modality's index.
        keep: (rows of that modality,) bool, which of them.
    """
    own = rows.modality == kind
    return rows.student._replace(attention=None).each(lambda part: part[own][keep])


_SHARED = frozenset({"text", "logit_scale"})


def join_rows(parts: Sequence[LossInput]) -> LossInput:
    """The rows of several parts of one batch, one after the other; texts are those of the first.

    A field that one part lacks is left out of all, except `peer`: rows of parts without one repeat what the student
    says, without gradient, and `has_peer` is False there.
    """
    if len(parts) == 1:
        return parts[0]
    if len({part.peer is None for part in parts}) == 2:
        parts = [with_peer(part) for part in parts]
    names = [field.name for field in fields(LossInput) if field.name not in _SHARED]
    return replace(parts[0], **{name: _joined([getattr(part, name) for part in parts]) for name in names})


def with_peer(part: LossInput) -> LossInput:
    """The rows with `peer` and `has_peer` filled in."""
    has = torch.full_like(part.sample, part.peer is not None, dtype=torch.bool)
    peer = part.peer or part.student.each(torch.Tensor.detach)
    return replace(part, peer=peer, has_peer=has if part.has_peer is None else part.has_peer)


def _joined(values: Sequence[Any]) -> Any:
    """Tensors concatenated; records of tensors field by field."""
    first = values[0]
    if any(value is None for value in values):
        return None
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(_joined(column) for column in zip(*values)))
    if isinstance(first, tuple):
        return tuple(_joined(column) for column in zip(*values))
    return replace(
        first, **{field.name: _joined([getattr(value, field.name) for value in values]) for field in fields(first)}
    )
