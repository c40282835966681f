"""Triplet margin loss over a sampler's groups, within each modality.

Idea: an anchor comes closer to its positive than to each of its negatives, by a margin. Groups come from a sampler; the same
groups hold for every modality, and each modality is compared with itself.
    L = sum over modalities of mean over (a, p, n) of max(0, |a - p| - |a - n| + m),   a, p, n unit embeddings
`hinge: false` leaves the maximum out. `cross_modal: true` adds, for every ordered pair of modalities, the same mean over anchors
of the first with positives and negatives of the second. A triplet counts where all three images are there: rows that a
modality lacks take their triplets with them, and a modality without any triplet adds 0.
Source: Cai et al. 2024 (EdgeVL), arXiv:2403.04908, section 3.3, L_c; Schroff et al. 2015 (FaceNet), arXiv:1503.03832, section 3.1.
Differs: EdgeVL prints L_c without the maximum, and its released code has it: without it, negatives that are far away
already are pushed on, so the hinged form is the default. FaceNet squares the distances. The paper's mean over J negatives
is over those that an anchor has.
Does not: choose triplets, or look at the teacher; the teacher has no gradient and no value here. The validation split forms no
groups, so there the loss is left out.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.errors import TrainingError
from edgefw.registry.technique import Register

_SMALLEST = 1e-12
"""Of a squared distance: equal embeddings have distance 1e-6 and gradient 0."""


class TripletConfig(edgefw.TechniqueConfig):
    """Options of the triplet loss."""

    margin: float = Field(default=0.3, ge=0.0, le=2.0, description="how much closer the positive must be")
    hinge: bool = Field(default=True, description="nothing more to gain beyond the margin; false: the paper's text")
    cross_modal: bool = Field(default=False, description="also positives and negatives of the other modalities")


class TripletLoss(nn.Module):
    """Distance to the positive against distances to the negatives; 0 without a triplet."""

    across_batch = True
    over_groups = True

    def __init__(self, margin: float, hinge: bool, cross_modal: bool) -> None:
        super().__init__()
        self.margin = margin
        self.hinge = hinge
        self.cross_modal = cross_modal

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32; at least 0 with the hinge, else at least margin - 2 per term.

        Raises:
            TrainingError: if the rows have no groups and roles.
        """
        if inputs.role is None or inputs.group is None:
            raise TrainingError(
                "loss 'triplet': the scheme gives rows without group and role, so there are no triplets."
            )
        embedding = normalize(inputs.student.embedding.float(), dim=-1)  # (R, D)
        kinds = torch.unique(inputs.modality).tolist()
        pairs = [(one, other) for one in kinds for other in kinds if one == other or self.cross_modal]
        terms = [self._term(embedding, *_triplets(inputs, one, other)) for one, other in pairs]
        return torch.stack(terms).sum()

    def _term(self, embedding: Tensor, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Mean over T triplets of rows; 0, connected to the embeddings, without one."""
        if not len(anchor):
            return embedding.sum() * 0.0
        near = _distance(embedding[anchor], embedding[positive])  # (T,)
        far = _distance(embedding[anchor], embedding[negative])  # (T,)
        excess = near - far + self.margin
        return (excess.clamp_min(0.0) if self.hinge else excess).mean()


def _triplets(inputs: LossInput, of_anchor: int, of_others: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (T,) of anchor, positive and negative of every triplet inside a group."""
    role, group, modality = inputs.role, inputs.group, inputs.modality
    assert role is not None and group is not None
    others = modality == of_others
    anchors = ((role == 0) & (modality == of_anchor)).nonzero().squeeze(1)
    positives = ((role == 1) & others).nonzero().squeeze(1)
    negatives = ((role > 1) & others).nonzero().squeeze(1)
    first, second = (group[anchors][:, None] == group[positives]).nonzero(as_tuple=True)
    anchors, positives = anchors[first], positives[second]  # (P,), one per anchor and positive
    pair, third = (group[anchors][:, None] == group[negatives]).nonzero(as_tuple=True)
    return anchors[pair], positives[pair], negatives[third]


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Euclidean distance of rows (T, D): (T,)."""
    return (one - other).square().sum(dim=-1).clamp_min(_SMALLEST).sqrt()


def build(config: TripletConfig, context: edgefw.BuildContext) -> TripletLoss:
    """The loss."""
    return TripletLoss(config.margin, config.hinge, config.cross_modal)


def needs_for(config: TripletConfig) -> frozenset[str]:
    """Two modalities only for triplets across them."""
    return frozenset({"sampler.groups"} | ({"run.pairs"} if config.cross_modal else set()))


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="triplet",
            config=TripletConfig,
            build=build,
            needs=frozenset({"sampler.groups", "run.pairs"}),
            needs_for=needs_for,
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2403.04908",
        )
    )
