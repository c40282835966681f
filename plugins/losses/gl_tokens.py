"""The student's map, brought to the teacher's grid, against its tokens.

Formula, for h'_S (R, D, rows, columns) of a projector such as `gl` and the teacher's tokens h_T (R, N, D):
    L = mean over rows, cells and numbers of (h_T - h'_S)^2
`scale: relative` divides the error of each row by the mean square of its tokens, so that it begins near 1 whatever the
teacher's numbers are (tokens before the last norm may have norms of some tens).
Source: Liu et al. 2022, Cross-Architecture Knowledge Distillation, arXiv:2207.05273, equation 6.
Differs: a mean over all numbers instead of a sum of squares.
Does not: look at class tokens; project anything (that is the projector's part).
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.errors import TrainingError
from edgefw.plugins.losses.squared_error import Scale, squared_error
from edgefw.registry.technique import Register


class GlTokensConfig(edgefw.TechniqueConfig):
    """Options of the loss."""

    scale: Scale = Field(default="absolute", description="squared errors as they are, or relative to the tokens' size")


class GlTokensLoss(nn.Module):
    """Distance of each cell to the teacher's token; 0 when they are equal."""

    across_batch = False

    def __init__(self, scale: Scale = "absolute") -> None:
        super().__init__()
        self.scale: Scale = scale

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, at least 0.

        Raises:
            TrainingError: if map and tokens are not there, or of different shapes.
        """
        aligned, tokens = inputs.student.map, inputs.teacher.tokens
        ours = None if aligned is None else aligned.flatten(2).mT  # (R, N, D)
        if ours is None or tokens is None or ours.shape != tokens.shape:
            shapes = [None if part is None else tuple(part.shape) for part in (ours, tokens)]
            raise TrainingError(
                f"loss 'gl-tokens': the aligned map has cells {shapes[0]}, the teacher tokens {shapes[1]}. "
                "Use a projector that provides tokens, such as gl, and a teacher that provides tokens."
            )
        return squared_error(ours.float(), tokens.float(), self.scale)


def build(config: GlTokensConfig, context: edgefw.BuildContext) -> GlTokensLoss:
    """The loss."""
    return GlTokensLoss(config.scale)


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="gl-tokens",
            config=GlTokensConfig,
            build=build,
            needs=frozenset({"teacher.tokens", "student.map", "projector.alignment", "projector.tokens"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2207.05273",
        )
    )
