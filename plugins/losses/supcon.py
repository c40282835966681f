"""Supervised contrastive loss by pseudo-label, to the teacher or in the batch.

With unit s, t of R rows, temperature T, and P(i) the rows with the label of row i:
    teacher-anchored  L = -mean_i mean_{j in P(i)} log( exp(s_i.t_j/T) / sum_{k not in P(i)} exp(s_i.t_k/T) )
                      P(i) holds i itself: its own target is a positive
    standard          L = -mean_i mean_{j in P(i), j != i} log( exp(s_i.s_j/T) / sum_{k != i} exp(s_i.s_k/T) )
The mean over i is over rows that have what the formula needs: a label; for the first a row of another label, for the second another
row of the same one. Without any such row the loss is 0. Rows without a label stand in no sum.
Source: Jeon et al., Efficient Quantization-Aware Distillation with Cross-Modal Alignment for Edge VLMs, L_sup; Khosla et al.
2020, Supervised Contrastive Learning, arXiv:2004.11362, equation 2 (L_out).
Differs: Jeon et al. print no temperature and apply the loss to each modality for itself; `temperature: 1` is their formula, the
default is Khosla et al.'s 0.07, and here the modalities of a batch are rows of one sum, which doubles each target (a constant
in the teacher-anchored form, whose denominator holds no positives).
Does not: project embeddings (Khosla et al. use a head that is dropped), or keep a memory of earlier batches. The
teacher-anchored form has no bound at 0: it is negative where all positives are closer than all others together.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.registry.technique import Register

Form = Literal["teacher-anchored", "standard"]


class SupConConfig(edgefw.TechniqueConfig):
    """Options of the supervised contrastive loss."""

    form: Form = Field(default="teacher-anchored", description="students to teacher targets, or among students")
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = Field(default=0.07, description="divides cosines")


class SupConLoss(nn.Module):
    """Rows of one label attract each other (or each other's targets), and repel the rest."""

    across_batch = True

    def __init__(self, form: Form, temperature: float) -> None:
        super().__init__()
        self.form = form
        self.temperature = temperature

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32; at least 0 in the standard form."""
        student = normalize(inputs.student.embedding.float(), dim=-1)  # (R, D)
        other = normalize(inputs.teacher.embedding.float(), dim=-1) if self.form == "teacher-anchored" else student
        logits = student @ other.T / self.temperature  # (R, R)
        labelled = inputs.label >= 0
        among = labelled[:, None] & labelled[None, :]
        positive = among & (inputs.label[:, None] == inputs.label[None, :])
        if self.form == "teacher-anchored":
            return _mean_log_ratio(logits, positive, among & ~positive)
        own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        return _mean_log_ratio(logits, positive & ~own, among & ~own)


def _mean_log_ratio(logits: Tensor, positive: Tensor, below: Tensor) -> Tensor:
    """Minus the mean over rows of the mean over positives of log(exp(logit) / sum below of exp); all (R, R)."""
    counts = positive.sum(dim=1)  # (R,)
    usable = (counts > 0) & below.any(dim=1)
    lowest = torch.finfo(logits.dtype).min
    log_sum = logits.masked_fill(~below, lowest).logsumexp(dim=1)
    mean_positive = (logits * positive).sum(dim=1) / counts.clamp_min(1)
    each = torch.where(usable, log_sum - mean_positive, 0.0)
    return each.sum() / usable.sum().clamp_min(1)


def build(config: SupConConfig, context: edgefw.BuildContext) -> SupConLoss:
    """The loss."""
    return SupConLoss(config.form, config.temperature)


def needs_for(config: SupConConfig) -> frozenset[str]:
    """The teacher only where it is compared with."""
    return frozenset({"run.labels"} | ({"teacher.embedding"} if config.form == "teacher-anchored" else set()))


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="supcon",
            config=SupConConfig,
            build=build,
            needs=frozenset({"run.labels", "teacher.embedding"}),
            needs_for=needs_for,
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2004.11362",
        )
    )
