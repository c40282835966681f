"""Four stages of blocks, each on a smaller map than the last, and a norm at the end.

Knows shapes, order and start values; the attentions and their formulas stand in files of their own.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from edgefw.plugins.students.dat_parts.architecture import STEPS, Architecture, AttentionKind
from edgefw.plugins.students.dat_parts.blocks import Block
from edgefw.plugins.students.dat_parts.deformable import DeformableAttention, OffsetNetwork
from edgefw.plugins.students.dat_parts.embedding import between, stem
from edgefw.plugins.students.dat_parts.neighbourhood import NeighbourhoodAttention
from edgefw.plugins.students.dat_parts.windows import WindowAttention


class DatBackbone(nn.Module):
    """Images (B, 3, size, size) to the normed last map (B, size/32, size/32, C)."""

    def __init__(self, architecture: Architecture, size: int, drop_path: float) -> None:
        super().__init__()
        dims, overlaps = architecture.dims, architecture.is_convolutional
        self.checkpoints = False
        widths = pairwise(dims)
        self.embeddings = nn.ModuleList([stem(dims[0], overlaps), *(between(a, b, overlaps) for a, b in widths)])
        self.stages = nn.ModuleList(_stages(architecture, size, drop_path))
        self.norm = nn.LayerNorm(dims[-1])
        self.apply(_start)
        for module in self.modules():
            if isinstance(module, OffsetNetwork):
                nn.init.trunc_normal_(module.output.weight, std=0.01)

    def forward(self, pixels: Tensor) -> Tensor:
        """The last map, channels last."""
        cells = pixels.permute(0, 2, 3, 1)
        for embedding, blocks in zip(self.embeddings, self.stages):
            cells = embedding(cells)
            for block in blocks:  # type: ignore[attr-defined]
                cells = self._run(block, cells)
        result: Tensor = self.norm(cells)
        return result

    def _run(self, block: nn.Module, cells: Tensor) -> Tensor:
        if self.checkpoints and self.training:
            kept: Tensor = checkpoint(block, cells, use_reentrant=False)
            return kept
        result: Tensor = block(cells)
        return result


def attention(architecture: Architecture, stage: int, kind: AttentionKind, side: int) -> nn.Module:
    """The attention of one kind on a map of `side` x `side` cells."""
    width, heads, reach = architecture.dims[stage], architecture.heads[stage], architecture.reach
    if kind == "neighbourhood":
        return NeighbourhoodAttention(side, width, heads, reach)
    if kind == "deformable":
        return DeformableAttention(
            side,
            width,
            heads,
            groups=architecture.groups[stage],
            stride=architecture.key_strides[stage],
            kernel=architecture.offset_kernels[stage],
            offset_range=architecture.offset_range,
        )
    return WindowAttention(side, width, heads, reach, shifted=kind == "shifted")


def _stages(architecture: Architecture, size: int, drop_path: float) -> list[nn.ModuleList]:
    """Blocks by stage; the rate of stochastic depth grows evenly from 0 to `drop_path`."""
    last = max(sum(architecture.depths) - 1, 1)
    rates = [drop_path * block / last for block in range(last + 1)]
    ends = list(accumulate(architecture.depths))
    stages = []
    for stage, width in enumerate(architecture.dims):
        blocks, first = [], ends[stage] - architecture.depths[stage]
        for rate, kind in zip(rates[first : ends[stage]], architecture.attention_kinds(stage)):
            part = attention(architecture, stage, kind, size // STEPS[stage])
            blocks.append(Block(part, width, architecture.mlp_ratio, rate, architecture.is_convolutional))
        stages.append(nn.ModuleList(blocks))
    return stages


def _start(module: nn.Module) -> None:
    """Start values of Swin: truncated normal matrices, zero biases; convolutions keep PyTorch's."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
