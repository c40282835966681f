"""Group-wise linear: map cells to teacher tokens, one layer per neighbourhood.

Idea: a cell of a convolutional map saw its surroundings, a token of a transformer the whole image; what takes one to the
other depends on the place. A linear layer per cell would be large and would overfit, so cells of a `side` x `side`
neighbourhood share one, with dropout in front.
    h'_S[:, n] = W_g(n) dropout(h_S[:, n]) + b_g(n)        g(n): the neighbourhood of cell n
Source: Liu et al. 2022, Cross-Architecture Knowledge Distillation, arXiv:2207.05273, section 3.1, equation 5: 16 layers for a grid of
14 x 14 cells, the last row and column of neighbourhoods cut off at the edge, as here; used by Clip4Retrofit (Zhong et
al. 2025, arXiv:2505.18039). Loss `gl-tokens` compares the result with the teacher's tokens.
Differs: the map is resampled to the teacher's grid first. The paper states no dropout rate: 0.1 is ours.
Does not: mix cells, or know the class token.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.plugins.projectors.alignment import alignment_specs, on_grid
from edgefw.registry.technique import Register


class GlConfig(edgefw.TechniqueConfig):
    """Options of the alignment."""

    side: int = Field(default=4, ge=1, le=64, description="cells along the side of a neighbourhood that shares a layer")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="share of the map's numbers left out, in training")


class GroupWiseLinear(nn.Module):
    """A map (B, C, rows, columns) to (B, D, rows', columns') on the teacher's grid; D is the width of its tokens."""

    def __init__(self, channels: int, width: int, grid: tuple[int, int], side: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self._grid = grid
        self._side = side
        self.dropout = nn.Dropout(dropout)
        across, down = (-(-length // side) for length in (grid[1], grid[0]))
        self.layers = nn.ModuleList(nn.Linear(channels, width) for _ in range(across * down))
        self._across = across

    def forward(self, feature_map: Tensor) -> Tensor:
        """Each neighbourhood through its own layer."""
        cells = self.dropout(on_grid(feature_map, self._grid)).permute(0, 2, 3, 1)  # (B, rows, columns, C)
        bands = [self._band(number, band) for number, band in enumerate(torch.split(cells, self._side, dim=1))]
        return torch.cat(bands, dim=1).permute(0, 3, 1, 2)

    def _band(self, number: int, band: Tensor) -> Tensor:
        """A row of neighbourhoods (B, side, columns, C) to (B, side, columns, D)."""
        first = number * self._across
        tiles = torch.split(band, self._side, dim=2)
        return torch.cat([self.layers[first + at](tile) for at, tile in enumerate(tiles)], dim=2)


def build(config: GlConfig, context: edgefw.BuildContext) -> GroupWiseLinear:
    """The alignment, with PyTorch's default start values."""
    feature_map, tokens = alignment_specs(context)
    return GroupWiseLinear(feature_map.channels, tokens.width, tokens.grid, config.side, config.dropout)


@edgefw.hookimpl
def edgefw_register_projectors(register: Register) -> None:
    """Offer the alignment."""
    register(
        edgefw.Technique(
            name="gl",
            config=GlConfig,
            build=build,
            provides=frozenset({"alignment", "tokens"}),
            needs=frozenset({"student.map", "teacher.tokens"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2207.05273",
        )
    )
