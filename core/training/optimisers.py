"""Optimisers by name, and the learning rate of each step in closed form.

Weight decay spares what only shifts or scales: every parameter of at most one dimension (biases, norms), and position
tables. The learning rate is a function of the step alone, so a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import Parameter

if TYPE_CHECKING:
    from edgefw.recipe.schema import Optimiser

_POSITIONS = ("pos_embed", "position_embedding", "relative_position_bias_table", "positional_embedding", "rel_pos")

_FUSED = ("cpu", "cuda")
"""Devices with an update of all parameters in one kernel: a quarter of the time of the loop over parameters."""


def decays(name: str, parameter: Parameter) -> bool:
    """Whether weight decay pulls on a parameter: matrices and kernels yes; norms, biases and positions no."""
    return parameter.ndim > 1 and not any(word in name for word in _POSITIONS)


def parameter_groups(
    module: nn.Module, weight_decay: float, leave_out: Iterable[Parameter] = ()
) -> list[dict[str, Any]]:
    """Trainable parameters of a module in two groups, with and without decay; a parameter shared twice counts once."""
    skipped = {id(parameter) for parameter in leave_out}
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad and id(p) not in skipped]
    groups = (
        {"params": [p for n, p in named if decays(n, p)], "weight_decay": weight_decay},
        {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
    )
    return [group for group in groups if group["params"]]


def make_optimiser(config: Optimiser, module: nn.Module, leave_out: Iterable[Parameter] = ()) -> torch.optim.Optimizer:
    """The recipe's optimiser on a module's trainable parameters, those of `leave_out` excepted."""
    groups = parameter_groups(module, config.weight_decay, leave_out)
    fused = all(p.device.type in _FUSED for group in groups for p in group["params"])
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=fused)
    if config.name == "adam":
        return torch.optim.Adam(groups, lr=config.lr, betas=config.betas, fused=fused)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=fused)


def warmup_steps(config: Optimiser, steps: int) -> int:
    """How many of `steps` warm up: below 1 a fraction of them, from 1 on a count."""
    return min(steps, round(config.warmup * steps) if config.warmup < 1 else round(config.warmup))


def learning_rate(config: Optimiser, step: int, steps: int) -> float:
    """The rate of one step: linear warm-up to `lr`, then a cosine to `final_lr`, which the last step has.

    With w warm-up steps of n, for step t = 0 .. n - 1:
        t < w:   lr (t + 1) / w
        t >= w:  final + (lr - final) (1 + cos(pi (t - w) / (n - 1 - w))) / 2
    """
    warm = warmup_steps(config, steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    progress = (step - warm) / max(1, steps - 1 - warm)
    return config.final_lr + (config.lr - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the same rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def forget_gradients(parameters: Iterable[Parameter]) -> None:
    """Let go of gradients: what an optimiser's `zero_grad` does, without the profiler's record of it in every step."""
    for parameter in parameters:
        parameter.grad = None
