"""The squared error of what two networks give for the same rows, absolute or relative to the target's own size.

Knows tensors alone.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Scale = Literal["absolute", "relative"]
_SMALLEST = 1e-6


def squared_error(ours: Tensor, theirs: Tensor, scale: Scale) -> Tensor:
    """Mean over rows of each row's mean squared error.

    Args:
        ours: (R, ...).
        theirs: the target, of the same shape.
        scale: "relative" divides each row's error by the mean square of its target: 1 is what zeros would cost.
    """
    error = (ours - theirs).square().flatten(1).mean(dim=1)  # (R,)
    if scale == "relative":
        error = error / theirs.square().flatten(1).mean(dim=1).clamp_min(_SMALLEST)
    return error.mean()
