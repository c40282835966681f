"""The network that is trained and exported: a trunk and the head that takes it to the teacher's width.

It knows the student's contract and nothing about techniques, data or devices.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from edgefw.contracts.projector import Head
from edgefw.contracts.student import Student, StudentOutput, StudentSpec


class StudentNetwork(nn.Module):
    """Trunk plus head: normalised pixels (B, C, S, S) to a `StudentOutput`.

    Attributes:
        trunk: the student, a module from pixels to `StudentFeatures`.
        head: the projector kept at export, a module from (B, width) to (B, D).
    """

    trunk: nn.Module
    head: nn.Module

    def __init__(self, trunk: Student, head: Head) -> None:
        super().__init__()
        self.trunk = cast(nn.Module, trunk)
        self.head = cast(nn.Module, head)

    @property
    def spec(self) -> StudentSpec:
        """The numbers of the trunk."""
        return cast(Student, self.trunk).spec

    def forward(self, pixels: Tensor) -> StudentOutput:
        """Embeddings (B, D), not normalised, with the features they came from."""
        features = self.trunk(pixels)
        return StudentOutput(self.head(features.pooled), features.pooled, features.map)

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Trade compute for memory in the backward pass of the trunk."""
        cast(Student, self.trunk).set_gradient_checkpointing(enabled)
