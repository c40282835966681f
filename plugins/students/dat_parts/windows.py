"""Attention inside local windows of a map, with or without a shift by half a window.

Formula: softmax(q k^T / sqrt(d) + B[i - j]) v over the cells of one window; B is learnt per head and displacement.
The shifted form rolls the map by half a window first and masks cells that only meet across the border.
Source: Liu et al. 2021 (Swin), arXiv:2103.14030, section 3.2, as used in the stages of DAT (arXiv:2201.00520).

Differs: where the window does not divide the map's side, the divisor nearest to it is used (7 becomes 6 on a map of
24 cells), so that nothing is padded; a window of the whole map is not shifted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MASKED = -100.0


def window_side(side: int, wanted: int) -> int:
    """The divisor of `side` nearest to `wanted`, the smaller of two."""
    return min((number for number in range(1, side + 1) if side % number == 0), key=lambda n: (abs(n - wanted), n))


def relative_cells(side: int) -> Tensor:
    """Row of the position table for every pair of cells of a window, (side^2, side^2)."""
    cells = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1).reshape(-1, 2)
    displacement = cells[:, None] - cells[None] + side - 1  # (N, N, 2), from 0
    return displacement[..., 0] * (2 * side - 1) + displacement[..., 1]


def shift_mask(side: int, window: int, shift: int) -> Tensor:
    """MASKED where two cells of a shifted window are no neighbours on the map, else 0: (windows, 1, N, N)."""
    band = torch.zeros(side)
    band[side - window :] = 1
    band[side - shift :] = 2
    region = split(band[:, None, None] * 3 + band[None, :, None], side, window)[0, ..., 0]  # (windows, N)
    return torch.where(region[:, None] == region[:, :, None], 0.0, MASKED).unsqueeze(1)


def split(cells: Tensor, side: int, window: int) -> Tensor:
    """Map (B, side, side, C), B may be missing, to windows (B, windows, N, C)."""
    count = side // window
    parts = cells.reshape(-1, count, window, count, window, cells.shape[-1]).permute(0, 1, 3, 2, 4, 5)
    return parts.reshape(-1, count * count, window * window, cells.shape[-1])


def join(windows: Tensor, side: int, window: int) -> Tensor:
    """The inverse of `split`."""
    count = side // window
    parts = windows.reshape(-1, count, count, window, window, windows.shape[-1]).permute(0, 1, 3, 2, 4, 5)
    return parts.reshape(-1, side, side, windows.shape[-1])


class WindowAttention(nn.Module):
    """Multi-head attention inside windows: (B, side, side, C) to the same."""

    index: Tensor
    mask: Tensor

    def __init__(self, side: int, width: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.side, self.width, self.heads = side, width, heads
        self.window = window_side(side, window)
        self.shift = self.window // 2 if shifted and self.window < side else 0
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.q_norm, self.k_norm = nn.Identity(), nn.Identity()  # for quantizers and losses, under timm's names
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * self.window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("index", relative_cells(self.window).flatten(), persistent=False)
        if self.shift:
            self.register_buffer("mask", shift_mask(side, self.window, self.shift), persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        """Attend within each window."""
        if self.shift:
            cells = torch.roll(cells, (-self.shift, -self.shift), dims=(1, 2))
        joined = join(self._attend(split(cells, self.side, self.window)), self.side, self.window)
        return torch.roll(joined, (self.shift, self.shift), dims=(1, 2)) if self.shift else joined

    def _attend(self, windows: Tensor) -> Tensor:
        count, cells = (self.side // self.window) ** 2, self.window**2
        parts = self.qkv(windows).reshape(-1, count, cells, 3, self.heads, self.width // self.heads)
        query, key, value = parts.permute(3, 0, 1, 4, 2, 5).unbind(0)  # (B, windows, heads, N, d)
        query, key = self.q_norm(query), self.k_norm(key)
        logits = query * (self.width // self.heads) ** -0.5 @ key.transpose(-2, -1) + self._bias(cells)
        if self.shift:
            logits = logits + self.mask
        mixed = logits.softmax(-1) @ value
        result: Tensor = self.output(mixed.transpose(2, 3).reshape(-1, count, cells, self.width))
        return result

    def _bias(self, cells: int) -> Tensor:
        picked = self.relative_position_bias_table[self.index]
        return picked.reshape(cells, cells, self.heads).permute(2, 0, 1)  # (heads, N, N)
