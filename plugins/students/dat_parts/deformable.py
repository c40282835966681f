"""Attention of every cell to a few points of the map that the image itself moves.

    q = x W_q,  dp = offset network of q,  p = reference grid + dp,  x~ = bilinear(x; p),  k = x~ W_k,  v = x~ W_v
    softmax(q k^T / sqrt(d) + bilinear(B; q's place - p)) v, then W_o

Points are a grid of side/r by side/r, shared by all queries, in coordinates where -1 and +1 are the first and the last
cell. Channels are cut into groups; each has points of its own, from one offset network (depthwise convolution of
stride r, LayerNorm, GELU, 1 x 1 convolution without bias). With a range s the offset is s tanh(dp) half spacings of
the grid, and points beyond the map read zeros; without one it is dp, clipped to the map. B is a table of (2 side - 1)^2
displacements for each head, read between its entries because points lie between cells.
Source: Xia et al. 2022, arXiv:2201.00520, section 3.2, equations 4 to 10; Xia et al. 2023 (DAT++), arXiv:2309.01430.

Differs: the grid spans the map from corner to corner, as the text says, also for r > 1; the last layer of the offset
network starts near zero. Does not: drop attention weights, or share points between groups.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample


def even_points(count: int) -> Tensor:
    """`count` x `count` places (x, y) from corner to corner of a map, row by row: (count^2, 2); one place: the middle."""
    along = torch.linspace(-1.0, 1.0, count) if count > 1 else torch.zeros(1)
    rows, columns = torch.meshgrid(along, along, indexing="ij")
    return torch.stack((columns, rows), -1).reshape(-1, 2)


class OffsetNetwork(nn.Module):
    """Offsets (x, y) of the points from the queries of one group: (B, C, side, side) to (B, points, 2)."""

    def __init__(self, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.activation = nn.GELU()
        self.output = nn.Linear(width, 2, bias=False)

    def forward(self, queries: Tensor) -> Tensor:
        """As predicted, without a range."""
        cells = self.convolution(queries).flatten(2).transpose(1, 2)  # (B, points, C)
        result: Tensor = self.output(self.activation(self.norm(cells)))
        return result


class DeformableAttention(nn.Module):
    """Multi-head attention to moved points: (B, side, side, C) to the same."""

    reference: Tensor
    places: Tensor

    def __init__(
        self, side: int, width: int, heads: int, groups: int, stride: int, kernel: int, offset_range: float | None
    ) -> None:
        super().__init__()
        self.side, self.width, self.heads, self.groups = side, width, heads, groups
        self.points_side, self.offset_range = side // stride, offset_range
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.q_norm, self.k_norm = nn.Identity(), nn.Identity()  # for quantizers and losses, under timm's names
        self.offsets = OffsetNetwork(width // groups, kernel, stride)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(heads, 2 * side - 1, 2 * side - 1))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("reference", even_points(self.points_side), persistent=False)
        self.register_buffer("places", even_points(side)[:, None], persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        """Attend to the points."""
        query = self.query(cells)
        points = self.points(query)  # (B groups, points, 2)
        key, value = self.key_value(self._sample(cells, points)).chunk(2, dim=-1)
        query, key, value = self.q_norm(self._by_head(query)), self.k_norm(self._by_head(key)), self._by_head(value)
        logits = query * (self.width // self.heads) ** -0.5 @ key.transpose(-2, -1) + self._bias(points)
        mixed = (logits.softmax(-1) @ value).transpose(1, 2)  # (B, N, heads, d)
        result: Tensor = self.output(mixed.reshape(-1, self.side, self.side, self.width))
        return result

    def points(self, query: Tensor) -> Tensor:
        """Places (x, y) that the keys are read at, (B groups, points, 2); -1 and +1 are the outermost cells."""
        offsets: Tensor = self.offsets(self._by_group(query))
        if self.offset_range is None:
            return (self.reference + offsets).clamp(-1.0, 1.0)
        return self.reference + offsets.tanh() * (self.offset_range / max(self.points_side - 1, 1))

    def _sample(self, cells: Tensor, points: Tensor) -> Tensor:
        grid = points.reshape(-1, self.points_side, self.points_side, 2)
        read = grid_sample(self._by_group(cells), grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        return read.reshape(-1, self.width, self.points_side**2).transpose(1, 2)  # (B, points, C)

    def _bias(self, points: Tensor) -> Tensor:
        count = self.heads // self.groups
        span = 2 * self.side - 1
        tables = self.relative_position_bias_table.reshape(1, self.groups, count, span, span)
        tables = tables.expand(points.shape[0] // self.groups, -1, -1, -1, -1).reshape(-1, count, span, span)
        displacement = (self.places - points[:, None]) * 0.5  # (B groups, N, points, 2)
        read = grid_sample(tables, displacement, mode="bilinear", padding_mode="zeros", align_corners=True)
        return read.reshape(-1, self.heads, self.side**2, self.points_side**2)

    def _by_group(self, cells: Tensor) -> Tensor:
        """(B, side, side, C) to (B groups, C / groups, side, side)."""
        return cells.permute(0, 3, 1, 2).reshape(-1, self.width // self.groups, self.side, self.side)

    def _by_head(self, cells: Tensor) -> Tensor:
        """(B, ..., C) to (B, heads, N, d)."""
        return cells.reshape(cells.shape[0], -1, self.heads, self.width // self.heads).transpose(1, 2)
