"""Fuse a network for inference where its modules offer it: RepVGG-style branches, convolution with batch norm.

Follows the conventions of the libraries that students come from: a child with `fuse()` gives its replacement, one with
`reparameterize()` or `switch_to_deploy()` changes itself (FastViT, MobileOne, RepVGG, LeViT, EfficientViT in timm).
Forgetting it costs speed, and doing it wrong costs accuracy: so it happens on a copy, and the copy is compared with the
network on real samples. Plain convolution and batch norm need nothing here: exporters fuse them in the graph.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import nn

TOLERANCE = 1e-3
"""Largest relative error of the fused copy; folding a batch norm reorders float32 sums, nothing more."""


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What happened, for the report."""

    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def reparameterised(network: nn.Module, examples: Mapping[str, np.ndarray]) -> tuple[nn.Module, Notes]:
    """An inference copy of a network in evaluation mode, with its re-parameterisable parts fused.

    Args:
        network: takes one tensor per entry of `examples`; it is left as it is.
        examples: input name -> (B, C, H, W) float32 real samples.
    """
    plain = copy.deepcopy(network).eval().requires_grad_(False)
    fused = copy.deepcopy(plain)
    try:
        count = _fuse(fused)
    except Exception as error:  # noqa: BLE001 - a module's own fusing code
        return plain, Notes(details={"fused_modules": 0}, warnings=(f"re-parameterising failed ({error}); left out.",))
    if count == 0:
        return plain, Notes(details={"fused_modules": 0})
    change = _relative_error(plain, fused.eval(), examples)
    if not change <= TOLERANCE:
        text = f"re-parameterising changed the network (relative error {change:.2g}); left out."
        return plain, Notes(details={"fused_modules": 0}, warnings=(text,))
    return fused.requires_grad_(False), Notes(details={"fused_modules": count})


def _fuse(module: nn.Module) -> int:
    count = 0
    for name, child in module.named_children():
        if callable(getattr(child, "fuse", None)):
            setattr(module, name, cast(Callable[[], nn.Module], child.fuse)())
            count += 1
            continue
        for method in ("reparameterize", "switch_to_deploy"):
            if callable(getattr(child, method, None)):
                getattr(child, method)()
                count += 1
                break
        count += _fuse(child)
    return count


def _relative_error(plain: nn.Module, fused: nn.Module, examples: Mapping[str, np.ndarray]) -> float:
    tensors = [torch.from_numpy(values) for values in examples.values()]
    with torch.inference_mode():
        wanted, got = plain(*tensors), fused(*tensors)
    return float((got - wanted).norm() / wanted.norm().clamp_min(torch.finfo(wanted.dtype).tiny))
