"""Multi-layer perceptron from pooled features to the teacher's width.

Formula: e = W_n f(... f(W_1 p + b_1) ...) + b_n with f = GELU or ReLU, and LayerNorm before f where `norm` is set.
Source: Chen et al. 2020 (SimCLR), arXiv:2002.05709, section 2.1: a non-linear projection head, two layers with ReLU.
Differs: GELU by default, hidden width is the teacher's; the head is kept at export, where SimCLR drops it.
Does not: bring embeddings to unit length.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

import edgefw
from edgefw.plugins.projectors.linear import head_widths
from edgefw.registry.technique import Register


class MlpConfig(edgefw.TechniqueConfig):
    """Options of the perceptron."""

    hidden: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None, description="numbers per hidden layer; null: the teacher's width"
    )
    layers: Annotated[int, Field(ge=2, le=8)] = Field(default=2, description="linear layers, the last one included")
    activation: Literal["gelu", "relu"] = Field(default="gelu", description="between the layers")
    norm: bool = Field(default=False, description="LayerNorm before each activation")


def build(config: MlpConfig, context: edgefw.BuildContext) -> nn.Module:
    """The layers in sequence."""
    width, target = head_widths(context)
    hidden = config.hidden or target
    layers: list[nn.Module] = []
    for _ in range(config.layers - 1):
        layers.append(nn.Linear(width, hidden))
        if config.norm:
            layers.append(nn.LayerNorm(hidden))
        layers.append(nn.GELU() if config.activation == "gelu" else nn.ReLU())
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, target))


@edgefw.hookimpl
def edgefw_register_projectors(register: Register) -> None:
    """Offer the head."""
    register(
        edgefw.Technique(
            name="mlp",
            config=MlpConfig,
            build=build,
            provides=frozenset({"head"}),
            needs=frozenset({"student.pooled", "teacher.embedding"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2002.05709",
        )
    )
