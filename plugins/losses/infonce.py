"""Symmetric InfoNCE between student rows and teacher targets.

Formula, with unit s, t of R rows and temperature T:
    L = 1/2 [ -mean_i log( exp(s_i.t_i/T) / sum_j exp(s_i.t_j/T) ) - mean_i log( exp(s_i.t_i/T) / sum_j exp(s_j.t_i/T) ) ]
where j runs over i itself and the rows of other samples. Rows of the same sample (its other modalities and views) are
neither positives nor negatives of row i: they show the same scene, so they are left out of both sums. In a batch of M
modalities each other sample stands in a sum up to M times. With one row per sample this is the textbook loss.
Source: Jeon et al., Efficient Quantization-Aware Distillation with Cross-Modal Alignment for Edge VLMs, L_nce; van den
Oord et al. 2018, arXiv:1807.03748, equation 4; both directions as Radford et al. 2021, arXiv:2103.00020, figure 3.
Differs: Jeon et al. print no temperature; `temperature: 1` is their formula, the default is CLIP's start value 0.07.
Does not: learn the temperature, or keep a memory of earlier batches. The minimum is above 0 for a finite temperature.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.registry.technique import Register


class InfoNceConfig(edgefw.TechniqueConfig):
    """Options of InfoNCE."""

    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = Field(default=0.07, description="divides cosines")
    symmetric: bool = Field(default=True, description="also teacher to student; false: student to teacher only")


class InfoNceLoss(nn.Module):
    """Each student row finds its target among the targets of other samples, and the reverse."""

    across_batch = True

    def __init__(self, temperature: float, symmetric: bool) -> None:
        super().__init__()
        self.temperature = temperature
        self.symmetric = symmetric

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, at least 0."""
        student = normalize(inputs.student.embedding.float(), dim=-1)  # (R, D)
        teacher = normalize(inputs.teacher.embedding.float(), dim=-1)  # (R, D)
        logits = student @ teacher.T / self.temperature  # (R, R)
        same = inputs.sample[:, None] == inputs.sample[None, :]
        own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(same & ~own, -torch.inf)
        loss = (logits.logsumexp(dim=1) - logits.diagonal()).mean()
        if self.symmetric:
            loss = (loss + (logits.logsumexp(dim=0) - logits.diagonal()).mean()) / 2
        return loss


def build(config: InfoNceConfig, context: edgefw.BuildContext) -> InfoNceLoss:
    """The loss."""
    return InfoNceLoss(config.temperature, config.symmetric)


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="infonce",
            config=InfoNceConfig,
            build=build,
            needs=frozenset({"teacher.embedding"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:1807.03748",
        )
    )
