"""Attention and value relations of a student's map against the teacher's.

Formula, per head with d numbers, for the queries, keys and values of a projector such as `pca` (Q', K', V' attend, V_S are the
student's own) and of the teacher's last block (Q_T, K_T, V_T):
    A(Q, K, V) = softmax(Q K^T / sqrt(d)) V
    L = attention * mean (A(Q_T, K_T, V_T) - A(Q', K', V'))^2 + relation * mean (V_T V_T^T / sqrt(d) - V_S V_S^T / sqrt(d))^2
`compare: scores` takes Q K^T / sqrt(d) in place of A. `scale: relative` divides the error of each row by the mean square of its target,
so that both terms begin near 1 whatever the teacher's numbers are.
Source: Liu et al. 2022, Cross-Architecture Knowledge Distillation, arXiv:2207.05273, equations 2 and 4.
Differs: means over all numbers instead of sums of squares; the teacher's heads are kept apart, where the paper writes one
(`heads: joined`). The released code compares scores before the softmax, weighs 0.2 and 0.05, and averages heads first, which is
not offered: `compare: scores, attention: 0.2, relation: 0.05` is it per head.
Does not: look at class tokens; project anything (that is the projector's part).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.errors import TrainingError
from edgefw.plugins.losses.squared_error import Scale, squared_error
from edgefw.registry.technique import Register

Compared = Literal["output", "scores"]
Heads = Literal["apart", "joined"]


class PcaAttentionConfig(edgefw.TechniqueConfig):
    """Options of the loss."""

    attention: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="weight of the attention term")
    relation: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="weight of the value-relation term")
    compare: Compared = Field(
        default="output", description="what attention gives out, or its scores before the softmax"
    )
    heads: Heads = Field(default="apart", description="the teacher's heads, or all of them joined to one")
    scale: Scale = Field(default="absolute", description="squared errors as they are, or relative to the target's size")

    @model_validator(mode="after")
    def _something_counts(self) -> PcaAttentionConfig:
        if self.attention == 0 and self.relation == 0:
            raise ValueError("attention and relation are both 0, so nothing would be compared")
        return self


class PcaAttentionLoss(nn.Module):
    """Distance of attention and value relations, row by row; 0 when they are equal."""

    across_batch = False

    def __init__(self, config: PcaAttentionConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, at least 0.

        Raises:
            TrainingError: if student or teacher has no queries, keys and values, or of different shapes.
        """
        (query, key, value, own), theirs = _parts(inputs)
        if self.config.heads == "joined":
            query, key, value, own = (_joined(part) for part in (query, key, value, own))
            theirs = tuple(_joined(part) for part in theirs)
        total = query.new_zeros(())
        if self.config.attention:
            ours, wanted = self._attended(query, key, value), self._attended(*theirs)
            total = total + self.config.attention * squared_error(ours, wanted, self.config.scale)
        if self.config.relation:
            ours, wanted = _scores(own, own), _scores(theirs[2], theirs[2])
            total = total + self.config.relation * squared_error(ours, wanted, self.config.scale)
        return total

    def _attended(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if self.config.compare == "scores":
            return _scores(query, key)
        attended: Tensor = scaled_dot_product_attention(query, key, value)
        return attended


def _scores(left: Tensor, right: Tensor) -> Tensor:
    """(R, heads, N, N)."""
    scores: Tensor = left @ right.mT / left.shape[-1] ** 0.5
    return scores


def _joined(part: Tensor) -> Tensor:
    """(R, heads, N, d) to (R, 1, N, heads d)."""
    return part.transpose(1, 2).flatten(2)[:, None]


def _parts(inputs: LossInput) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Queries, keys, values and own values of the student; queries, keys and values of the teacher: (R, heads, N, d)."""
    teacher = (inputs.teacher.queries, inputs.teacher.keys, inputs.teacher.values)
    theirs = tuple(part.float() for part in teacher if part is not None)
    aligned = inputs.student.map
    expected = None if len(theirs) < 3 else (len(theirs[0]), 4, *theirs[0].shape[1:])
    if aligned is None or tuple(aligned.shape) != expected:
        found = None if aligned is None else tuple(aligned.shape)
        raise TrainingError(
            f"loss 'pca-attention': the aligned map is {found}, and the teacher's queries, keys and values ask for "
            f"{expected}. Use a projector that provides qkv, such as pca, and a teacher that provides qkv."
        )
    return torch.unbind(aligned.float(), dim=1), theirs


def build(config: PcaAttentionConfig, context: edgefw.BuildContext) -> PcaAttentionLoss:
    """The loss."""
    return PcaAttentionLoss(config)


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="pca-attention",
            config=PcaAttentionConfig,
            build=build,
            needs=frozenset({"teacher.qkv", "student.map", "projector.alignment", "projector.qkv"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2207.05273",
        )
    )
