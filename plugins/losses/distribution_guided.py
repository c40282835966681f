"""Similarities among queries and among keys, as in an earlier phase's student.

In each attention layer and head, for an image's N tokens, with q and k (N, d):
    G_q = q q^T / |q q^T|,   G_k = k k^T / |k k^T|        (Frobenius norm)
    L = mean over images, layers and heads of |G_q - G_q'| + |G_k - G_k'|
where ' is the `reference`, the float student that the phase began with, shown the same images. In windowed attention the
tokens are those of a window.
Source: Li et al. 2022 (Q-ViT), arXiv:2210.06707, distribution guided distillation.
Differs: the mean of layers and heads instead of their sum, so that the depth of a student does not weigh: for the
paper's sum multiply the weight by layers times heads. |G - G'| comes from products of d x d numbers instead of N x N, as
|u v^T + v u^T| / 2 with u and v the difference and the sum of the two, each divided by the root of its own |q q^T|.
Does not: compare values, attention weights or embeddings: use it beside a loss on embeddings. Scale and rotation of
queries do not count, so alone it does not keep the attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.student import AttentionHeads, StudentOutput
from edgefw.errors import TrainingError
from edgefw.registry.technique import Register

_SMALLEST = 1e-12
"""Of a squared distance: nearer matrices count as equal, where the root has no gradient."""


class DistributionGuidedLoss(nn.Module):
    """Distance of the similarity matrices of queries and keys; 0 where student and reference agree."""

    across_batch = False
    reads_attention = True

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, from 0 to 2 sqrt(2)."""
        ours, theirs = _layers(inputs.student, "student"), _layers(inputs.reference, "reference")
        _check(ours, theirs)
        layers = [
            (similarity_distance(one.queries, other.queries) + similarity_distance(one.keys, other.keys)).mean()
            for one, other in zip(ours, theirs)
        ]
        return torch.stack(layers).mean()


def similarity_distance(student: Tensor, reference: Tensor) -> Tensor:
    """|G - G'| of every image and head: (..., N, d) and the same to (...,), float32."""
    ours, theirs = _unit(student.float()), _unit(reference.detach().float())
    difference, total = ours - theirs, ours + theirs
    cross = difference.mT @ total  # (..., d, d)
    straight = (difference.mT @ difference) * (total.mT @ total)
    squared = 0.5 * (straight + cross * cross.mT).sum(dim=(-2, -1))
    distance: Tensor = squared.clamp_min(_SMALLEST).sqrt() - _SMALLEST**0.5
    return distance


def _unit(heads: Tensor) -> Tensor:
    """Divided by the root of the norm of q q^T, which is that of q^T q."""
    norm = (heads.mT @ heads).square().sum(dim=(-2, -1), keepdim=True)
    return heads * norm.clamp_min(_SMALLEST).pow(-0.25)


def _layers(output: StudentOutput | None, whose: str) -> tuple[AttentionHeads, ...]:
    if output is None or not output.attention:
        raise TrainingError(
            f"loss 'distribution-guided': the {whose} gives no attention layers. Use a student that provides "
            "attention, in a phase after the first, with a scheme such as dual-modality or single-modality."
        )
    return output.attention


def _check(ours: tuple[AttentionHeads, ...], theirs: tuple[AttentionHeads, ...]) -> None:
    shapes = [[tuple(part.shape) for layer in side for part in layer] for side in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise TrainingError(
            f"loss 'distribution-guided': student and reference differ in their attention layers ({len(ours)} and "
            f"{len(theirs)}, of shapes {shapes[0][:2]} and {shapes[1][:2]}). They must be of one architecture."
        )


def build(config: edgefw.NoOptions, context: edgefw.BuildContext) -> DistributionGuidedLoss:
    """The loss."""
    return DistributionGuidedLoss()


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="distribution-guided",
            config=edgefw.NoOptions,
            build=build,
            needs=frozenset({"run.reference", "student.attention"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2210.06707",
        )
    )
