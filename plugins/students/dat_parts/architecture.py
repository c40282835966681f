"""The numbers of a DAT or DAT++: widths, depths, heads, groups, and which attention stands where.

Source: Xia et al. 2022, arXiv:2201.00520, table 1 (dat-t); Xia et al. 2023, arXiv:2309.01430, and the settings published
with it (dat-pp-t). The micro variants are ours, for tests and for cameras of the smallest kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Four = tuple[int, int, int, int]
AttentionKind = Literal["window", "shifted", "neighbourhood", "deformable"]

SMALLEST_STEP = 32
"""Pixels per cell of the last map; the input's side is a multiple of it."""
STEPS: Four = (4, 8, 16, 32)
"""Pixels per cell of each stage's map."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a backbone is built from; one number per stage where there are four.

    Attributes:
        dims: channels.
        depths: blocks.
        heads: attention heads; divide `dims`.
        groups: groups of channels with sampling points of their own; divide `heads`.
        key_strides: cells of the map per sampling point, along each axis.
        offset_kernels: side of the depthwise kernel of the offset network.
        offset_range: half spacings of the sampling points that a point may move by; None: anywhere, clipped to the map.
        patterns: attention kinds that take turns within a stage.
        is_convolutional: overlapping embeddings, a depthwise convolution before attention and one inside the MLP.
        reach: side of a window or a neighbourhood, in cells.
        mlp_ratio: hidden width of the MLP over its width.
    """

    dims: Four
    depths: Four
    heads: Four
    groups: Four
    key_strides: Four
    offset_kernels: Four
    offset_range: float | None
    patterns: tuple[tuple[AttentionKind, ...], ...]
    is_convolutional: bool
    reach: int = 7
    mlp_ratio: int = 4

    def attention_kinds(self, stage: int) -> tuple[AttentionKind, ...]:
        """One per block of a stage (0 to 3)."""
        pattern = self.patterns[stage]
        return tuple(pattern[block % len(pattern)] for block in range(self.depths[stage]))


DAT_TINY = Architecture(
    dims=(96, 192, 384, 768),
    depths=(2, 2, 6, 2),
    heads=(3, 6, 12, 24),
    groups=(1, 1, 3, 6),  # the first two are not used: no deformable attention there
    key_strides=(1, 1, 1, 1),
    offset_kernels=(5, 5, 5, 5),
    offset_range=2.0,
    patterns=(("window", "shifted"), ("window", "shifted"), ("window", "deformable"), ("window", "deformable")),
    is_convolutional=False,
)

DAT_PLUS_TINY = Architecture(
    dims=(64, 128, 256, 512),
    depths=(2, 4, 18, 2),
    heads=(2, 4, 8, 16),
    groups=(1, 2, 4, 8),
    key_strides=(8, 4, 2, 1),
    offset_kernels=(9, 7, 5, 3),
    offset_range=None,
    patterns=(*((("neighbourhood", "deformable"),) * 3), ("deformable",)),
    is_convolutional=True,
)

VARIANTS = {
    "dat-t": DAT_TINY,
    "dat-pp-t": DAT_PLUS_TINY,
    "dat-micro": replace(
        DAT_TINY, dims=(24, 48, 96, 192), depths=(2, 2, 2, 2), heads=(1, 2, 4, 8), groups=(1, 1, 2, 4)
    ),
    "dat-pp-micro": replace(
        DAT_PLUS_TINY, dims=(16, 32, 64, 128), depths=(1, 2, 2, 1), heads=(1, 2, 4, 8), groups=(1, 1, 2, 4)
    ),
}
