"""One linear layer from pooled features to the teacher's width.

Formula: e = W p + b, with p (B, student width) and e (B, teacher width); the plain head of CLIP's towers.
Source: Radford et al. 2021, arXiv:2103.00020, section 2.3 (linear projection to the multi-modal embedding space).
Differs: nothing. Does not: normalise; losses and labelling bring embeddings to unit length.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

import edgefw
from edgefw.errors import RecipeError
from edgefw.registry.technique import Register


class LinearConfig(edgefw.TechniqueConfig):
    """Options of the linear head."""

    bias: bool = Field(default=True, description="add a learnt offset to every number of the embedding")


def head_widths(context: edgefw.BuildContext) -> tuple[int, int]:
    """(student width, teacher width): what every head goes between.

    Raises:
        RecipeError: if student or teacher is not built yet.
    """
    if context.student is None or context.teacher is None:
        raise RecipeError("a head is built after student and teacher: both widths must be known.")
    return context.student.width, context.teacher.width


def build(config: LinearConfig, context: edgefw.BuildContext) -> nn.Module:
    """The layer, with PyTorch's default start values."""
    width, target = head_widths(context)
    return nn.Linear(width, target, bias=config.bias)


@edgefw.hookimpl
def edgefw_register_projectors(register: Register) -> None:
    """Offer the head."""
    register(
        edgefw.Technique(
            name="linear",
            config=LinearConfig,
            build=build,
            provides=frozenset({"head"}),
            needs=frozenset({"student.pooled", "teacher.embedding"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2103.00020",
        )
    )
