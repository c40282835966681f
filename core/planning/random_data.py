"""Stand-ins for data and teacher answers: random numbers of the right shapes, so that a step can be tried.

They know shapes and nothing else; what comes out of them is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from edgefw.contracts.teacher import TeacherOutput, TeacherSpec
from edgefw.data.batches import StepData

if TYPE_CHECKING:
    from edgefw.contracts.sampler import Pick


@dataclass(frozen=True, kw_only=True)
class RandomData:
    """N samples of random pixels; see `edgefw.data.batches.StepSource`.

    Attributes:
        count: N.
        shape: (C, S, S) of the student's input.
        channels: modality name -> C of its images where that is another number.
        picture: (H, W) of the teacher's input.
        modalities: in the recipe's order; every sample has all of them.
        teacher_modality: the one that the teacher sees.
        labels: (N,) int64 or None.
        turns: draws of the view that are replayed, or None.
    """

    count: int
    shape: tuple[int, int, int]
    picture: tuple[int, int]
    modalities: Sequence[str]
    teacher_modality: str
    labels: np.ndarray | None = None
    turns: int | None = None
    channels: Mapping[str, int] = field(default_factory=dict)

    @property
    def ids(self) -> Sequence[str]:
        """Names of the samples."""
        return [str(index) for index in range(self.count)]

    def load(self, picks: Sequence[Pick], epoch: int, pictures: bool) -> StepData:
        """A batch of random images; labels are those of the picked samples."""
        rows, (usual, *sides) = len(picks), self.shape
        index = torch.tensor([pick.index for pick in picks])
        label = torch.full((rows,), -1) if self.labels is None else torch.from_numpy(self.labels)[index]
        return StepData(
            images={name: torch.randn(rows, self.channels.get(name, usual), *sides) for name in self.modalities},
            present={name: torch.ones(rows, dtype=torch.bool) for name in self.modalities},
            sample=index,
            label=label,
            role=torch.tensor([pick.role for pick in picks]),
            group=torch.tensor([pick.group for pick in picks]),
            pictures=self.pictures([pick.index for pick in picks], 0) if pictures else None,
            turn=0,
        )

    def pictures(self, indices: Sequence[int], turn: int) -> Tensor:
        """Random pictures (n, 3, H, W)."""
        return torch.randn(len(indices), 3, *self.picture)

    def identity(self) -> Mapping[str, Any]:
        """Nothing that could be stored."""
        return {"random": self.count}


@dataclass(frozen=True)
class RandomTargets:
    """Teacher answers of the shapes that a spec states."""

    spec: TeacherSpec
    want: frozenset[str]

    def __call__(self, step: StepData) -> TeacherOutput:
        """Unit embeddings (B, D), and tokens and heads where they are wanted."""
        rows, tokens = len(step.sample), self.spec.tokens
        embedding = normalize(torch.randn(rows, self.spec.width), dim=-1)
        if tokens is None:
            return TeacherOutput(embedding=embedding)
        number = tokens.grid[0] * tokens.grid[1]
        split = (rows, tokens.heads, number, tokens.width // tokens.heads)
        heads = {name: torch.randn(split) for name in ("queries", "keys", "values") if "qkv" in self.want}
        patches = torch.randn(rows, number, tokens.width) if "tokens" in self.want else None
        return TeacherOutput(embedding=embedding, tokens=patches, **heads)


def random_texts(count: int, width: int) -> Tensor | None:
    """Unit text embeddings (K, D), or None for no labels."""
    return normalize(torch.randn(count, width), dim=-1) if count else None
