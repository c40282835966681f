"""Partially cross attention: queries, keys, values of a map, part teacher's.

Idea: a convolutional student has no attention, so it is given one, in training only, that can be held against the
teacher's. In training each number of its queries, keys and values is replaced by the teacher's with probability
`cross`: where the student's numbers do not yet work together, they must work with the teacher's.
    {Q_S, K_S, V_S} = 3x3 convolutions of the map          g(M) = M_T where u < cross, else M_S,   u ~ U(0, 1) per number
The answer is g(Q), g(K), g(V) and V_S; loss `pca-attention` compares them with the teacher's.
Source: Liu et al. 2022, Cross-Architecture Knowledge Distillation, arXiv:2207.05273, section 3.1, equations 1 and 3; used by
Clip4Retrofit (Zhong et al. 2025, arXiv:2505.18039).
Differs: the map is resampled to the teacher's grid first (theirs have one size); the convolutions give the teacher's
width, split into the teacher's heads, so that any two networks fit. Their released code has one linear layer and replaces nothing:
`kernel: 1, cross: 0`. In evaluation nothing is replaced.
Does not: add norms, positions or an output layer to the attention; learn which numbers to replace.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.contracts.teacher import TeacherOutput, TokenSpec
from edgefw.errors import TrainingError
from edgefw.plugins.projectors.alignment import alignment_specs, on_grid
from edgefw.registry.technique import Register


class PcaConfig(edgefw.TechniqueConfig):
    """Options of the alignment."""

    cross: float = Field(default=0.5, ge=0, le=1, description="probability that a number is the teacher's, in training")
    kernel: Literal[1, 3, 5] = Field(default=3, description="side of the convolutions, in cells of the teacher's grid")


class PartiallyCrossAttention(nn.Module):
    """A map (B, C, rows, columns) to (B, 4, heads, N, d): queries, keys and values that attend, the student's values."""

    takes_teacher = True

    def __init__(self, channels: int, tokens: TokenSpec, cross: float = 0.5, kernel: int = 3) -> None:
        super().__init__()
        self.cross = cross
        self._grid = tokens.grid
        self._heads = tokens.heads
        self.convolution = nn.Conv2d(channels, 3 * tokens.width, kernel, padding=kernel // 2)

    def forward(self, feature_map: Tensor, teacher: TeacherOutput | None = None) -> Tensor:
        """The four, with numbers of the teacher's in the first three while training.

        Raises:
            TrainingError: if the teacher's queries, keys and values are not there, or of another shape.
        """
        parts = self.convolution(on_grid(feature_map, self._grid)).flatten(2)  # (B, 3 C, N)
        own = parts.unflatten(1, (3, self._heads, -1)).mT  # (B, 3, heads, N, d)
        attending = own
        if self.training and teacher is not None and self.cross > 0:
            theirs = _stacked(teacher, own)
            attending = torch.where(torch.rand_like(own) < self.cross, theirs, own)
        return torch.cat([attending, own[:, 2:]], dim=1)


def _stacked(teacher: TeacherOutput, like: Tensor) -> Tensor:
    """The teacher's queries, keys and values (B, 3, heads, N, d), in the type of the student's."""
    parts = [teacher.queries, teacher.keys, teacher.values]
    given = [part for part in parts if part is not None]
    shapes = {tuple(part.shape) for part in given}
    expected = (len(like), *like.shape[2:])
    if len(given) < 3 or shapes != {expected}:
        found = ", ".join(map(str, sorted(shapes))) or "none"
        raise TrainingError(
            f"projector 'pca': queries, keys and values of {expected} are needed of the teacher, given: {found}. "
            "Use a teacher that provides qkv, on the grid that it states."
        )
    return torch.stack(given, dim=1).to(like.dtype)


def build(config: PcaConfig, context: edgefw.BuildContext) -> PartiallyCrossAttention:
    """The alignment, with PyTorch's default start values."""
    feature_map, tokens = alignment_specs(context)
    return PartiallyCrossAttention(feature_map.channels, tokens, config.cross, config.kernel)


@edgefw.hookimpl
def edgefw_register_projectors(register: Register) -> None:
    """Offer the alignment."""
    register(
        edgefw.Technique(
            name="pca",
            config=PcaConfig,
            build=build,
            provides=frozenset({"alignment", "qkv"}),
            needs=frozenset({"student.map", "teacher.qkv"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2207.05273",
        )
    )
