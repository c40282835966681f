"""Relational distillation: distances and angles of a batch like the teacher's.

With h the Huber loss (delta 1), x of R rows, d_ij = |x_i - x_j| / mean of |x_k - x_l| over all pairs of different rows, and
c_ijk the cosine of the angle at x_j between x_i and x_k:
    L = distance * mean over i != j of h(d^s_ij - d^t_ij) + angle * mean over i, j, k of h(c^s_ijk - c^t_ijk)
Angles are those of three different samples: rows of one sample share their target, and two equal points have no direction.
Distances between rows of one sample do count: the teacher's is 0, so modalities and views of a scene are drawn together.
Source: Park et al. 2019, Relational Knowledge Distillation, arXiv:1904.05068, equations 4 to 10; with L_rkd of Jeon et al.,
Efficient Quantization-Aware Distillation with Cross-Modal Alignment for Edge VLMs.
Differs: means instead of the paper's sums, as in its authors' code, so that the batch size does not weigh; embeddings are unit vectors
(Jeon et al.), or as they are with `normalise: false`. The default weights, 1 and 2, have the paper's ratio of 25 to 50; Jeon et
al. print none.
Does not: fix the position or the rotation of the embeddings, so alone it does not teach the space of the texts: use it beside
`feature` or `infonce`. Angles take R^3 numbers: 64 MB for 256 rows, some times over for the gradient.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import normalize, smooth_l1_loss

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.registry.technique import Register

_SHORTEST = 1e-3
"""Sides of an angle count as at least this part of the batch's spread: rounding decides the direction of shorter ones."""


class RelationalConfig(edgefw.TechniqueConfig):
    """Options of relational distillation."""

    distance: float = Field(default=1.0, ge=0.0, le=1000.0, description="weight of the distances; 0 leaves them out")
    angle: float = Field(default=2.0, ge=0.0, le=1000.0, description="weight of the angles; 0 leaves them out")
    normalise: bool = Field(default=True, description="compare unit embeddings")

    @model_validator(mode="after")
    def _something_is_left(self) -> RelationalConfig:
        if self.distance == 0 and self.angle == 0:
            raise ValueError("distance and angle are both 0, so there is nothing to compare. Give one of them a weight")
        return self


class RelationalLoss(nn.Module):
    """Distances and angles of the student's rows against the teacher's; 0 where the shapes are similar."""

    across_batch = True

    def __init__(self, distance: float, angle: float, normalise: bool) -> None:
        super().__init__()
        self.distance = distance
        self.angle = angle
        self.normalise = normalise

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, at least 0."""
        student, teacher = (self._centred(x) for x in (inputs.student.embedding, inputs.teacher.embedding))
        loss = student.sum() * 0.0
        if self.distance > 0 and len(student) > 1:
            loss = loss + self.distance * _distance_loss(student, teacher)
        if self.angle > 0:
            loss = loss + self.angle * _angle_loss(student, teacher, inputs.sample)
        return loss

    def _centred(self, embedding: Tensor) -> Tensor:
        """(R, D); taking off the mean changes no difference and keeps their digits."""
        rows = normalize(embedding.float(), dim=-1) if self.normalise else embedding.float()
        return rows - rows.mean(dim=0).detach()


def _distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    other = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
    ours, theirs = (_distances(rows)[other] for rows in (student, teacher))
    return smooth_l1_loss(ours / _spread(ours), theirs / _spread(theirs))


def _angle_loss(student: Tensor, teacher: Tensor, sample: Tensor) -> Tensor:
    same = sample[:, None] == sample[None, :]
    different = ~(same[:, :, None] | same[None, :, :] | same[:, None, :])  # (i, j, k)
    if not bool(different.any()):
        return student.sum() * 0.0
    return smooth_l1_loss(_cosines(student)[different], _cosines(teacher)[different])


def _distances(rows: Tensor) -> Tensor:
    """(R, R); the distance of equal rows is 0 and has gradient 0."""
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def _spread(distances: Tensor) -> Tensor:
    """Mean distance (), above 0."""
    return distances.mean().clamp_min(1e-12)


def _cosines(rows: Tensor) -> Tensor:
    """(R, R, R): at [i, j, k] the cosine of the angle at j between i and k, from a product of matrices."""
    product = rows @ rows.T
    inner = product[:, None, :] - product[:, :, None] - product[None, :, :] + product.diagonal()[None, :, None]
    lengths = _distances(rows)
    lengths = lengths.clamp_min(float(_SHORTEST * _spread(lengths.detach())))
    return inner / (lengths[:, :, None] * lengths[None, :, :])


def build(config: RelationalConfig, context: edgefw.BuildContext) -> RelationalLoss:
    """The loss."""
    return RelationalLoss(config.distance, config.angle, config.normalise)


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="relational",
            config=RelationalConfig,
            build=build,
            needs=frozenset({"teacher.embedding"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:1904.05068",
        )
    )
