"""From pixels to the first map, and from one stage's map to the next, smaller one.

DAT: patches side by side, by a 4 x 4 convolution of stride 4, then 2 x 2 of stride 2. DAT++: overlapping patches, by
two 3 x 3 convolutions of stride 2 with LayerNorm and GELU between, then 3 x 3 of stride 2. LayerNorm ends each.
Source: Xia et al. 2022, arXiv:2201.00520, section 3.3; Xia et al. 2023 (DAT++), arXiv:2309.01430.
"""

from __future__ import annotations

from torch import Tensor, nn


class ToSmallerMap(nn.Module):
    """A strided convolution and LayerNorm: (B, rows, columns, C) to (B, fewer rows, fewer columns, C')."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, kernel, stride, padding=(kernel - 1) // 2 if kernel % 2 else 0)
        self.norm = nn.LayerNorm(width)

    def forward(self, cells: Tensor) -> Tensor:
        """Channels stay last."""
        result: Tensor = self.norm(self.convolution(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return result


def stem(width: int, is_overlapping: bool) -> nn.Module:
    """(B, rows, columns, 3) to a quarter of the rows and columns, `width` channels."""
    if not is_overlapping:
        return ToSmallerMap(3, width, kernel=4, stride=4)
    first, second = ToSmallerMap(3, width // 2, kernel=3, stride=2), ToSmallerMap(width // 2, width, kernel=3, stride=2)
    return nn.Sequential(first, nn.GELU(), second)


def between(width: int, next_width: int, is_overlapping: bool) -> nn.Module:
    """Half the rows and columns, `next_width` channels."""
    return ToSmallerMap(width, next_width, kernel=3 if is_overlapping else 2, stride=2)
