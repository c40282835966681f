"""What every alignment needs: the two grids, and the student's map on the teacher's.

Knows the numbers of student and teacher, and neither losses nor what an alignment does with the map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.functional import interpolate

from edgefw.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from edgefw.contracts.student import MapSpec
    from edgefw.contracts.teacher import TokenSpec
    from edgefw.registry.technique import BuildContext


def alignment_specs(context: BuildContext) -> tuple[MapSpec, TokenSpec]:
    """The student's map and the teacher's tokens.

    Raises:
        RecipeError: if one of them has none, or is not built yet.
    """
    if context.student is None or context.teacher is None:
        raise RecipeError("an alignment is built after student and teacher: map and tokens must be known.")
    if context.student.map is None:
        raise RecipeError("the student has no feature map to align. Use a backbone that gives one.")
    if context.teacher.tokens is None:
        raise RecipeError(
            f"teacher '{context.teacher.source}' has no tokens to align with. Use a vision transformer as the teacher."
        )
    return context.student.map, context.teacher.tokens


def on_grid(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map (B, C, rows, columns) on another grid: bilinear, with averaging where it becomes smaller."""
    if tuple(feature_map.shape[2:]) == tuple(grid):
        return feature_map
    return interpolate(feature_map, size=grid, mode="bilinear", align_corners=False, antialias=True)
