"""How long the batch norms of a backbone remember: the weight that a batch has in their running statistics.

Source: S. Ioffe and C. Szegedy, Batch Normalization, arXiv:1502.03167, section 3.1; Y. Wu and J. Johnson, Rethinking "Batch"
in BatchNorm, arXiv:2105.07576, section 3.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgefw.errors import RecipeError


def set_momentum(backbone: nn.Module, momentum: float) -> None:
    """Give every batch norm this momentum; running = (1 - momentum) * running + momentum * batch.

    Args:
        backbone: any network; it is changed.
        momentum: above 0 and at most 1, in torch's sense; TensorFlow counts from the other end (its 0.99 is 0.01 here).

    Raises:
        RecipeError: if the network has no batch norm with running statistics.
    """
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        raise RecipeError(
            f"bn_momentum: {momentum}: {type(backbone).__name__} has no batch norm. Set bn_momentum: null."
        )
    for norm in norms:
        norm.momentum = momentum
