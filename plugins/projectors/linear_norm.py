"""Linear layer, then LayerNorm over the embedding, as EdgeVL's Swin and DAT.

Formula: e = g * (h - mean(h)) / sqrt(var(h) + eps) + c with h = W p + b; mean and (biased) variance over the D numbers.
Source: Cai et al. 2024 (EdgeVL), arXiv:2403.04908, released code world_swin/models: Linear(C -> 1024), LayerNorm(1024).
Differs: nothing (`eps` is PyTorch's 1e-5). Does not: bring embeddings to unit length.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

import edgefw
from edgefw.plugins.projectors.linear import head_widths
from edgefw.registry.technique import Register


class LinearNormConfig(edgefw.TechniqueConfig):
    """Options of the linear head with LayerNorm."""

    eps: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(default=1e-5, description="added to the variance")


def build(config: LinearNormConfig, context: edgefw.BuildContext) -> nn.Module:
    """Linear and LayerNorm in sequence."""
    width, target = head_widths(context)
    return nn.Sequential(nn.Linear(width, target), nn.LayerNorm(target, eps=config.eps))


@edgefw.hookimpl
def edgefw_register_projectors(register: Register) -> None:
    """Offer the head."""
    register(
        edgefw.Technique(
            name="linear-norm",
            config=LinearNormConfig,
            build=build,
            provides=frozenset({"head"}),
            needs=frozenset({"student.pooled", "teacher.embedding"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2403.04908",
        )
    )
