"""Cross-entropy of the student's text logits against the teacher's best text.

Idea: the texts of the label list are the classes, and the teacher's answer is the label; no annotation is needed.
    student logits z_ik = scale * s_i.y_k,   teacher logits u_ik = scale * t_i.y_k   (unit s, t and texts y)
    target q_i: `hard` one at argmax_k u_ik, `soft` softmax_k(u_ik), each mixed as (1 - e) q + e / K (label smoothing e)
    L = -mean_i sum_k q_ik log softmax_k(z_i)
Source: Thoker and Gall 2019, Cross-modal Knowledge Distillation for Action Recognition, arXiv:1910.04641: cross-entropy with the
teacher's predictions in place of KL ("Fida" in EdgeVL's tables, arXiv:2403.04908).
Differs: classes are texts and logits are scaled cosines instead of a classifier's outputs. Their mutual learning between students
is not part of this loss. Label smoothing is an addition (Szegedy et al. 2016, arXiv:1512.00567).
Does not: use curated pseudo-labels, which are from un-augmented images: the teacher's answer is that of the same view. The minimum of
the soft form is the teacher's entropy; `similarity-kl` is the same gradient with minimum 0.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.errors import TrainingError
from edgefw.registry.technique import Register

Target = Literal["hard", "soft"]


class PseudoLabelConfig(edgefw.TechniqueConfig):
    """Options of the pseudo-label loss."""

    target: Target = Field(default="hard", description="the teacher's best text, or its distribution over texts")
    smoothing: float = Field(default=0.0, ge=0.0, lt=1.0, description="share of the target that all texts get alike")
    scale: Annotated[float, Field(gt=0.0, le=1000.0)] | None = Field(
        default=None, description="factor on cosines; null: the teacher's logit scale"
    )


class PseudoLabelLoss(nn.Module):
    """The student names what the teacher names."""

    across_batch = False

    def __init__(self, target: Target, smoothing: float, scale: float | None) -> None:
        super().__init__()
        self.target = target
        self.smoothing = smoothing
        self.scale = scale

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, at least 0.

        Raises:
            TrainingError: if the run has no texts.
        """
        if inputs.text is None:
            raise TrainingError("loss 'pseudo-label' has no texts. Set curate.labels or evaluate.labels.")
        scale = inputs.logit_scale if self.scale is None else self.scale
        text = normalize(inputs.text.float(), dim=-1)  # (K, D)
        ours = scale * normalize(inputs.student.embedding.float(), dim=-1) @ text.T  # (R, K)
        theirs = scale * normalize(inputs.teacher.embedding.float(), dim=-1) @ text.T
        target = theirs.argmax(dim=1) if self.target == "hard" else theirs.softmax(dim=1)
        return cross_entropy(ours, target, label_smoothing=self.smoothing)


def build(config: PseudoLabelConfig, context: edgefw.BuildContext) -> PseudoLabelLoss:
    """The loss."""
    return PseudoLabelLoss(config.target, config.smoothing, config.scale)


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="pseudo-label",
            config=PseudoLabelConfig,
            build=build,
            needs=frozenset({"teacher.embedding", "teacher.text", "run.texts"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:1910.04641",
        )
    )
