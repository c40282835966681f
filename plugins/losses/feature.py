"""L1, MSE or cosine distance between unit embeddings of student and teacher.

Formula, with u = s / |s| and v = t / |t| of R rows of D numbers:
    l1      mean over rows and numbers of |u - v|          (EdgeVL's stage 1)
    mse     mean over rows and numbers of (u - v)^2        (CLIP-KD's FD; equals 2 (1 - cos) / D)
    cosine  mean over rows of 1 - u . v
Source: Cai et al. 2024 (EdgeVL), arXiv:2403.04908, stage 1 and released trainer.py; Yang et al. 2024 (CLIP-KD),
arXiv:2307.12732, feature distillation.
Differs: nothing; EdgeVL's mean is over all elements of both modalities, as here, so its two terms weigh one half each.
Does not: compare maps or tokens.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss, normalize

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.registry.technique import Register


class FeatureConfig(edgefw.TechniqueConfig):
    """Options of the feature loss."""

    distance: Literal["l1", "mse", "cosine"] = Field(default="l1", description="how unit embeddings are compared")


class FeatureLoss(nn.Module):
    """Distance of each row to its own target; 0 when directions are equal."""

    across_batch = False

    def __init__(self, distance: Literal["l1", "mse", "cosine"]) -> None:
        super().__init__()
        self.distance = distance

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, at least 0."""
        student = normalize(inputs.student.embedding.float(), dim=-1)  # (R, D)
        teacher = normalize(inputs.teacher.embedding.float(), dim=-1)  # (R, D)
        if self.distance == "l1":
            return l1_loss(student, teacher)
        if self.distance == "mse":
            return mse_loss(student, teacher)
        return (1 - (student * teacher).sum(dim=-1)).mean()


def build(config: FeatureConfig, context: edgefw.BuildContext) -> FeatureLoss:
    """The loss."""
    return FeatureLoss(config.distance)


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="feature",
            config=FeatureConfig,
            build=build,
            needs=frozenset({"teacher.embedding"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2403.04908",
        )
    )
