"""What the student says about changed views follows its word on the clean one.

Formula, for rows r of changed views, c(r) the row of view 0 of the same sample and modality, and unit embeddings s:
    L = mean over r of 1 - s_r . sg(s_c(r))              `distance: cosine`
    L = mean over r and numbers of (s_r - sg(s_c(r)))^2    `distance: mse`
sg stops the gradient, so that the clean view is the target and is not drawn towards a spoilt one; `both: true` leaves it out.
The simpler alternative to `view-adversarial`: nothing to balance, no second player.
Source: Sajjadi et al. 2016, Regularization With Stochastic Transformations and Perturbations, arXiv:1606.04586, for consistency of
transformed views; Zheng et al. 2016, Improving the Robustness of Deep Neural Networks via Stability Training, arXiv:1604.04326, for a
clean and a distorted copy of each image.
Differs: embeddings instead of class scores, and one direction.
Does not: keep embeddings of different samples apart (put a loss on the teacher beside it: alone it is 0 for a constant student).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.errors import TrainingError
from edgefw.registry.technique import Register

Distance = Literal["cosine", "mse"]
Of = Literal["embedding", "pooled"]


class ViewConsistencyConfig(edgefw.TechniqueConfig):
    """Options of the loss."""

    distance: Distance = Field(default="cosine", description="how unit vectors of two views are compared")
    of: Of = Field(default="embedding", description="what is compared: embeddings or pooled features")
    both: bool = Field(default=False, description="the clean view learns from the changed ones too")


class ViewConsistencyLoss(nn.Module):
    """Distance of each changed view to the clean one; 0 when all views of a sample say the same."""

    across_batch = False
    over_groups = True

    def __init__(self, config: ViewConsistencyConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, at least 0; 0 if no row has a clean partner.

        Raises:
            TrainingError: if the rows form no groups.
        """
        rows = normalize(getattr(inputs.student, self.config.of).float(), dim=-1)
        changed, clean = _pairs(inputs)
        if not len(changed):
            return rows.sum() * 0.0
        ours, target = rows[changed], rows[clean] if self.config.both else rows[clean].detach()
        if self.config.distance == "mse":
            return (ours - target).square().mean()
        return (1 - (ours * target).sum(dim=-1)).mean()


def _pairs(inputs: LossInput) -> tuple[Tensor, Tensor]:
    """Rows of changed views that have a clean partner, and the partners: the same group and modality, role 0."""
    if inputs.role is None or inputs.group is None:
        raise TrainingError("loss 'view-consistency': the rows form no groups. Use sampler view-groups.")
    alike = (inputs.group[:, None] == inputs.group) & (inputs.modality[:, None] == inputs.modality)
    changed, clean = ((inputs.role[:, None] > 0) & (inputs.role == 0) & alike).nonzero(as_tuple=True)
    return changed, clean


def build(config: ViewConsistencyConfig, context: edgefw.BuildContext) -> ViewConsistencyLoss:
    """The loss."""
    return ViewConsistencyLoss(config)


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="view-consistency",
            config=ViewConsistencyConfig,
            build=build,
            needs=frozenset({"sampler.views"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:1604.04326",
        )
    )
