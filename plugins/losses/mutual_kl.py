"""KL divergence between the class distributions of two students, both ways.

Formula, with unit embeddings s and q of student and peer, K unit text embeddings y and temperature T:
    p_i = softmax_k(s_i . y_k / T),  r_i = softmax_k(q_i . y_k / T)
    L = mean_i 1/2 [ KL(stop(r_i) || p_i) + KL(stop(p_i) || r_i) ]
`stop` gives a constant: each side learns from the other as it is. Where a scheme gives two students as rows, each the
peer of the other, the sum over rows is one KL per student, as in deep mutual learning; where the peer is a mix of
outputs, it is half of the symmetric term of MixSKD. `temperature: null` is the inverse of the teacher's logit scale.
Source: Zhang et al. 2018, Deep Mutual Learning, arXiv:1706.00384, eq. 5 and 6; Thoker and Gall 2019, arXiv:1910.04641.
Differs: class logits are cosines to texts; no factor T^2. Rows without a peer do not count.
Does not: look at the teacher; `pseudo-label` or `feature` beside it does.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, normalize

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.errors import TrainingError
from edgefw.registry.technique import Register


class MutualKlConfig(edgefw.TechniqueConfig):
    """Options of the mutual loss."""

    temperature: Annotated[float, Field(gt=0.0, le=100.0)] | None = Field(
        default=None, description="divides cosines; null: 1 / logit scale of the teacher"
    )


class MutualKlLoss(nn.Module):
    """Two distributions over texts pull at each other; 0 when they are equal."""

    across_batch = False

    def __init__(self, temperature: float | None) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, at least 0; 0 if no row has a peer."""
        if inputs.peer is None or inputs.text is None:
            missing = "peer" if inputs.peer is None else "texts"
            raise TrainingError(
                f"loss 'mutual-kl' has no {missing}. It needs a scheme with a peer, such as mutual, and a label list: "
                "set curate.labels or evaluate.labels."
            )
        student, peer = inputs.student.embedding, inputs.peer.embedding
        if inputs.has_peer is not None:
            student, peer = student[inputs.has_peer], peer[inputs.has_peer]
        if not len(student):
            return student.float().sum()
        scale = inputs.logit_scale if self.temperature is None else 1 / self.temperature
        text = normalize(inputs.text.float(), dim=-1)  # (K, D)
        ours, theirs = (
            log_softmax(scale * normalize(side.float(), dim=-1) @ text.T, dim=1) for side in (student, peer)
        )
        return (_kl(theirs.detach(), ours) + _kl(ours.detach(), theirs)) / 2


def _kl(target: Tensor, learner: Tensor) -> Tensor:
    """Mean over rows of KL(target || learner); both are log-probabilities (R, K)."""
    return kl_div(learner, target, reduction="batchmean", log_target=True)


def build(config: MutualKlConfig, context: edgefw.BuildContext) -> MutualKlLoss:
    """The loss."""
    return MutualKlLoss(config.temperature)


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="mutual-kl",
            config=MutualKlConfig,
            build=build,
            needs=frozenset({"scheme.peer", "teacher.text", "run.texts"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:1706.00384",
        )
    )
