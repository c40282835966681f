"""Attention of every cell to the k x k cells around it.

Formula: softmax(q_i K_n(i)^T / sqrt(d) + B[j - i]) V_n(i), with n(i) the k x k cells nearest to i. At a border the
neighbourhood is moved inwards, so every cell has exactly k^2 neighbours: the first row of cells along each axis is
clamp(i - k // 2, 0, side - k). B is learnt per head and displacement, (2k - 1)^2 of them.
Source: Hassani et al. 2023, arXiv:2204.07143, sections 3.1 and 3.2, as used in the stages of DAT++ (arXiv:2309.01430).

Differs: neighbours are unfolded with two gathers of fixed indices, in plain PyTorch, which any exporter can write; it
costs k^2 times the memory of keys and values. Where the map's side is below k, the largest odd number that fits is used.
Does not: dilate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def neighbours(side: int, kernel: int) -> Tensor:
    """The `kernel` positions that each of `side` positions sees along one axis, (side, kernel)."""
    first = (torch.arange(side) - kernel // 2).clamp(0, side - kernel)
    return first[:, None] + torch.arange(kernel)


def kernel_side(side: int, wanted: int) -> int:
    """The largest odd number up to `wanted` and `side`."""
    fitting = min(side, wanted)
    return fitting if fitting % 2 else fitting - 1


class NeighbourhoodAttention(nn.Module):
    """Multi-head attention to neighbours: (B, side, side, C) to the same."""

    along: Tensor
    index: Tensor

    def __init__(self, side: int, width: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.side, self.width, self.heads = side, width, heads
        self.kernel = kernel_side(side, kernel)
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.q_norm, self.k_norm = nn.Identity(), nn.Identity()  # for quantizers and losses, under timm's names
        span = 2 * self.kernel - 1
        self.relative_position_bias_table = nn.Parameter(torch.zeros(span**2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        along = neighbours(side, self.kernel)
        self.register_buffer("along", along.flatten(), persistent=False)
        self.register_buffer("index", _displacements(along, self.kernel), persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        """Attend to the neighbours of each cell."""
        query, key, value = self.qkv(cells).chunk(3, dim=-1)
        query, key = self.q_norm(self._by_head(query)), self.k_norm(self._by_head(key))  # (B, heads, N, d)
        query = query.transpose(1, 2).unsqueeze(3)  # (B, N, heads, 1, d)
        key = key.transpose(1, 2).reshape(-1, self.side, self.side, self.width)
        key, value = self._unfold(key), self._unfold(value)  # (B, N, heads, k^2, d)
        logits = query * (self.width // self.heads) ** -0.5 @ key.transpose(-2, -1) + self._bias()
        mixed = logits.softmax(-1) @ value
        result: Tensor = self.output(mixed.reshape(-1, self.side, self.side, self.width))
        return result

    def _by_head(self, cells: Tensor) -> Tensor:
        return cells.reshape(-1, self.side**2, self.heads, self.width // self.heads).transpose(1, 2)

    def _unfold(self, cells: Tensor) -> Tensor:
        spread = cells.index_select(1, self.along).index_select(2, self.along)  # (B, side k, side k, C)
        side, kernel, depth = self.side, self.kernel, self.width // self.heads
        parts = spread.reshape(-1, side, kernel, side, kernel, self.heads, depth).permute(0, 1, 3, 5, 2, 4, 6)
        return parts.reshape(-1, side**2, self.heads, kernel**2, depth)

    def _bias(self) -> Tensor:
        picked = self.relative_position_bias_table[self.index]  # (N k^2, heads)
        return picked.reshape(self.side**2, self.kernel**2, self.heads).transpose(1, 2).unsqueeze(2)


def _displacements(along: Tensor, kernel: int) -> Tensor:
    """Row of the position table for every cell and neighbour, flat (N k^2)."""
    side = along.shape[0]
    step = along - torch.arange(side)[:, None] + kernel - 1  # (side, k), from 0
    table_rows = step[:, None, :, None] * (2 * kernel - 1) + step[None, :, None, :]  # (side, side, k, k)
    return table_rows.flatten()
