"""One transformer block: a depthwise convolution where asked for, attention, MLP, each beside a shortcut.

    x <- x + depthwise 3 x 3 (x)            local perception unit, DAT++ only
    x <- x + attention(LayerNorm(x))
    x <- x + MLP(LayerNorm(x))              in DAT++ with a depthwise 3 x 3 and a shortcut on its hidden channels

Source: Xia et al. 2022, arXiv:2201.00520, equations 12 and 13; Xia et al. 2023 (DAT++), arXiv:2309.01430, after
Guo et al. 2022 (CMT), arXiv:2107.06263 (local perception unit) and Wang et al. 2022 (PVTv2), arXiv:2106.13797.
Does not: scale layers.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.ops import StochasticDepth


class LocalPerception(nn.Module):
    """A depthwise 3 x 3 convolution beside a shortcut: (B, rows, columns, C) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, cells: Tensor) -> Tensor:
        """What a cell and its eight neighbours add to it."""
        around: Tensor = self.convolution(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return cells + around


class Block(nn.Module):
    """A block around an attention of its width: (B, rows, columns, C) to the same."""

    def __init__(self, attention: nn.Module, width: int, ratio: int, drop_path: float, is_convolutional: bool) -> None:
        super().__init__()
        self.perception = LocalPerception(width) if is_convolutional else nn.Identity()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = attention
        self.mlp_norm = nn.LayerNorm(width)
        hidden = ratio * width
        local = [LocalPerception(hidden)] if is_convolutional else []
        self.mlp = nn.Sequential(nn.Linear(width, hidden), *local, nn.GELU(), nn.Linear(hidden, width))
        self.drop_path = StochasticDepth(drop_path, "row") if drop_path else nn.Identity()

    def forward(self, cells: Tensor) -> Tensor:
        """The block's formula, see the module."""
        cells = self.perception(cells)
        cells = cells + self.drop_path(self.attention(self.attention_norm(cells)))
        result: Tensor = cells + self.drop_path(self.mlp(self.mlp_norm(cells)))
        return result
