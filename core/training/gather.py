"""The rows of all processes as one batch, differentiable, for losses that look across the batch.

Processes may have different numbers of rows. In the backward pass every process receives the gradient of the sum of
all processes' losses with respect to its own rows; averaged over the processes, as data-parallel training does with
parameter gradients, this is the gradient of the loss of the whole batch.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from edgefw.contracts.loss import LossInput

_NOT_ROWS = frozenset({"text", "logit_scale"})


def row_counts(rows: int, device: torch.device) -> list[int]:
    """How many rows each process has, by rank."""
    counts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([rows], dtype=torch.int64, device=device))
    return [int(count) for count in torch.cat(counts).tolist()]


class _GatherRows(torch.autograd.Function):
    """Concatenate the rows of all processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return _all_rows(rows, counts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        first = sum(ctx.counts[: dist.get_rank()])
        return summed[first : first + ctx.counts[dist.get_rank()]], None


def gather_rows(rows: Tensor, counts: list[int]) -> Tensor:
    """(n_rank, ...) of each process to (sum of n, ...), by rank; `counts` from `row_counts`."""
    if rows.requires_grad:
        return _GatherRows.apply(rows, counts)  # type: ignore[no-any-return]
    return _all_rows(rows, counts)


def gather_input(inputs: LossInput, counts: list[int]) -> LossInput:
    """A `LossInput` of the rows of all processes. Text embeddings are the same everywhere and stay as they are."""
    names = [field.name for field in fields(inputs) if field.name not in _NOT_ROWS]
    return replace(inputs, **{name: _gathered(getattr(inputs, name), counts) for name in names})


def _gathered(value: Any, counts: list[int]) -> Any:
    if value is None:
        return None
    if isinstance(value, Tensor):
        return gather_rows(value, counts)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_gathered(part, counts) for part in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_gathered(part, counts) for part in value)
    return replace(value, **{field.name: _gathered(getattr(value, field.name), counts) for field in fields(value)})


def _all_rows(rows: Tensor, counts: list[int]) -> Tensor:
    most = max(counts)
    sent = rows.detach().contiguous()
    as_bytes = sent.dtype == torch.bool
    sent = sent.to(torch.uint8) if as_bytes else sent
    if sent.shape[0] < most:
        sent = torch.cat([sent, sent.new_zeros(most - sent.shape[0], *sent.shape[1:])])
    received = [torch.empty_like(sent) for _ in counts]
    dist.all_gather(received, sent)
    joined = torch.cat([part[:count] for part, count in zip(received, counts)])
    return joined.bool() if as_bytes else joined
