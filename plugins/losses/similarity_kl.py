"""KL divergence between similarity distributions of teacher and student.

Formula, with unit embeddings, temperature T, and A an (R, columns) matrix of cosines:
    L = mean_i KL( softmax_j(A^t_ij / T) || softmax_j(A^s_ij / T) )
`over` says what the columns are:
    texts    A^s = s_i.y_k, A^t = t_i.y_k with the K text embeddings of the label list (CLIP-KD's CRD, DIME-FM's L_vl)
    teacher  A^s = s_i.t_j, A^t = t_i.t_j: teacher images as pseudo-texts (DIME-FM's L_pvl)
    batch    A^s = s_i.s_j, A^t = t_i.t_j: geometry of the batch (DIME-FM's L_udist); pairs of rows of one sample are
             left out, because they share their target and a cosine of 1 drowns the others
`directions: both` adds the softmax over rows (texts to images) and halves the sum. `temperature: null` takes the
inverse of the teacher's logit scale. `soften: S` multiplies the temperature, so that with `null` the logits of the teacher's
zero-shot classifier are divided by S; `compensate` multiplies the loss by S^2, because softening divides its gradient by that.
Source: Yang et al. 2024 (CLIP-KD), arXiv:2307.12732, contrastive relational distillation; Sun et al. 2023 (DIME-FM),
arXiv:2303.18232; Wu et al. 2023 (TinyCLIP), arXiv:2309.12314, affinity mimicking. Softening: Hinton et al. 2015,
arXiv:1503.02531, section 2; Su and Maji 2017 (cross quality distillation, "CQD" in EdgeVL's tables), arXiv:1604.00433.
Differs: TinyCLIP prints a cross-entropy, which is this plus the teacher's entropy (same gradient), as do Hinton et al. and
Su and Maji; their term for labels is left out.
Does not: need labels. 0 when student equals teacher.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.errors import TrainingError
from edgefw.registry.technique import Register

Columns = Literal["texts", "teacher", "batch"]


class SimilarityKlConfig(edgefw.TechniqueConfig):
    """Options of the similarity loss."""

    over: Columns = Field(default="texts", description="similarities to texts, to teacher images, or inside the batch")
    directions: Literal["one", "both"] = Field(default="one", description="softmax over columns, or over rows as well")
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] | None = Field(
        default=None, description="divides cosines; null: 1 / logit scale of the teacher"
    )
    soften: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(
        default=1.0, description="multiplies the temperature of both sides (Hinton's T)"
    )
    compensate: bool = Field(default=False, description="multiply the loss by soften squared")

    @model_validator(mode="after")
    def _batch_is_symmetric(self) -> SimilarityKlConfig:
        if self.over == "batch" and self.directions == "both":
            raise ValueError("directions: both changes nothing with over: batch, whose matrix is symmetric")
        return self


class SimilarityKlLoss(nn.Module):
    """Match how alike the teacher finds a row and each column."""

    def __init__(
        self,
        over: Columns,
        both: bool,
        temperature: float | None,
        soften: float = 1.0,
        compensate: bool = False,
    ) -> None:
        super().__init__()
        self.soften = soften
        self.weight = soften**2 if compensate else 1.0
        self.over = over
        self.both = both
        self.temperature = temperature
        self.across_batch = both or over != "texts"

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, at least 0."""
        student = normalize(inputs.student.embedding.float(), dim=-1)  # (R, D)
        teacher = normalize(inputs.teacher.embedding.float(), dim=-1)  # (R, D)
        scale = (inputs.logit_scale if self.temperature is None else 1 / self.temperature) / self.soften
        of_student, of_teacher = self._columns(inputs, student, teacher)
        ours = scale * student @ of_student.T  # (R, columns)
        theirs = scale * teacher @ of_teacher.T
        if self.over == "batch":
            return self.weight * _kl_between_samples(theirs, ours, inputs.sample)
        loss = _kl(theirs, ours)
        return self.weight * ((loss + _kl(theirs.T, ours.T)) / 2 if self.both else loss)

    def _columns(self, inputs: LossInput, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        if self.over == "batch":
            return student, teacher
        if self.over == "teacher":
            return teacher, teacher
        if inputs.text is None:
            raise TrainingError("loss 'similarity-kl' over texts has no texts. Set curate.labels or evaluate.labels.")
        text = normalize(inputs.text.float(), dim=-1)
        return text, text


def _kl(target: Tensor, logits: Tensor) -> Tensor:
    """Mean over rows of KL(softmax(target) || softmax(logits)), both (R, K)."""
    log_target, log_ours = log_softmax(target, dim=1), log_softmax(logits, dim=1)
    return (log_target.exp() * (log_target - log_ours)).sum(dim=1).mean()


def _kl_between_samples(target: Tensor, logits: Tensor, sample: Tensor) -> Tensor:
    """As `_kl`, without pairs of one sample; a row that has no other sample beside it counts 0."""
    other = sample[:, None] != sample[None, :]
    lowest = torch.finfo(logits.dtype).min
    log_target = log_softmax(target.masked_fill(~other, lowest), dim=1)
    log_ours = log_softmax(logits.masked_fill(~other, lowest), dim=1)
    difference = torch.where(other, log_target - log_ours, 0.0)
    return (log_target.exp() * difference).sum(dim=1).mean()


def build(config: SimilarityKlConfig, context: edgefw.BuildContext) -> SimilarityKlLoss:
    """The loss."""
    return SimilarityKlLoss(
        config.over, config.directions == "both", config.temperature, config.soften, config.compensate
    )


def needs_for(config: SimilarityKlConfig) -> frozenset[str]:
    """Texts only where the columns are texts."""
    texts = {"teacher.text", "run.texts"} if config.over == "texts" else set()
    return frozenset({"teacher.embedding", *texts})


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="similarity-kl",
            config=SimilarityKlConfig,
            build=build,
            needs=frozenset({"teacher.embedding", "teacher.text", "run.texts"}),
            needs_for=needs_for,
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2307.12732",
        )
    )
