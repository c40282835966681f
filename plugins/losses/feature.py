"""L1, MSE or cosine distance between embeddings of the student and another.

Formula, with u = s / |s| and v = t / |t| of R rows of D numbers:
    l1      mean over rows and numbers of |u - v|          (EdgeVL's stage 1)
    mse     mean over rows and numbers of (u - v)^2        (CLIP-KD's FD; equals 2 (1 - cos) / D)
    cosine  mean over rows of 1 - u . v
`against` says whose t it is: the `teacher`'s, that of the `reference` (the frozen student of an earlier phase, as in
cross-modal transfer), or of the scheme's `peer` (the gradient then reaches both sides; rows without a peer do not count).
`of: map` compares numbers of feature maps as they are, without unit length, as supervision transfer does.
Source: Cai et al. 2024 (EdgeVL), arXiv:2403.04908, stage 1 and released trainer.py; Yang et al. 2024 (CLIP-KD),
arXiv:2307.12732, feature distillation; Gupta et al. 2016, arXiv:1507.00448, eq. 1 (maps).
Differs: nothing; EdgeVL's mean is over all elements of both modalities, as here, so its two terms weigh one half each.
Does not: bring maps of different shapes together, or compare maps with the teacher's tokens.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss, normalize

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.errors import TrainingError
from edgefw.registry.technique import Register

Distance = Literal["l1", "mse", "cosine"]
Against = Literal["teacher", "reference", "peer"]
_REMEDY = {
    "teacher": "Every scheme has one.",
    "reference": "Train an earlier phase, or use against: teacher.",
    "peer": "Use a scheme that provides scheme.peer, such as mutual.",
}


class FeatureConfig(edgefw.TechniqueConfig):
    """Options of the feature loss."""

    distance: Distance = Field(default="l1", description="how unit embeddings are compared")
    against: Against = Field(
        default="teacher", description="teacher, reference (an earlier phase), or the scheme's peer"
    )
    of: Literal["embedding", "map"] = Field(
        default="embedding", description="what is compared; maps: with l1 or mse, and not with the teacher"
    )

    @model_validator(mode="after")
    def _maps_have_a_partner(self) -> FeatureConfig:
        if self.of == "map" and (self.against == "teacher" or self.distance == "cosine"):
            raise ValueError("of: map needs against: reference or peer, and distance: l1 or mse")
        return self


class FeatureLoss(nn.Module):
    """Distance of each row to its own target; 0 when directions are equal."""

    across_batch = False

    def __init__(self, distance: Distance, against: Against = "teacher", of: str = "embedding") -> None:
        super().__init__()
        self.distance = distance
        self.against = against
        self.of = of

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, at least 0; 0 if no row has a peer."""
        student, other = self._pair(inputs)
        if not len(student):
            return student.sum()
        if self.distance == "l1":
            return l1_loss(student, other)
        if self.distance == "mse":
            return mse_loss(student, other)
        return (1 - (student * other).sum(dim=-1)).mean()

    def _pair(self, inputs: LossInput) -> tuple[Tensor, Tensor]:
        """What is compared: (R, D) unit embeddings, or (R, ...) maps."""
        partner = getattr(inputs, self.against)
        if partner is None:
            raise TrainingError(
                f"loss 'feature' against {self.against}: the scheme gives none. {_REMEDY[self.against]}"
            )
        student, other = getattr(inputs.student, self.of), getattr(partner, self.of)
        if student is None or other is None or student.shape != other.shape:
            shapes = [None if value is None else tuple(value.shape[1:]) for value in (student, other)]
            raise TrainingError(
                f"loss 'feature' of {self.of} against {self.against}: shapes {shapes[0]} and {shapes[1]} cannot be "
                "compared. Use a student and a scheme that give both."
            )
        if self.against == "peer" and inputs.has_peer is not None:
            student, other = student[inputs.has_peer], other[inputs.has_peer]
        if self.of == "map":
            return student.float(), other.float()
        return normalize(student.float(), dim=-1), normalize(other.float(), dim=-1)


def build(config: FeatureConfig, context: edgefw.BuildContext) -> FeatureLoss:
    """The loss."""
    return FeatureLoss(config.distance, config.against, config.of)


def needs_for(config: FeatureConfig) -> frozenset[str]:
    """Whoever the student is compared with."""
    words = {"teacher": "teacher.embedding", "reference": "run.reference", "peer": "scheme.peer"}
    return frozenset({words[config.against], *({"student.map"} if config.of == "map" else ())})


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="feature",
            config=FeatureConfig,
            build=build,
            needs=frozenset({"teacher.embedding", "run.reference", "scheme.peer", "student.map"}),
            needs_for=needs_for,
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2403.04908",
        )
    )
