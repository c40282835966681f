"""Queries and keys of a student's attention layers, read while a loss asks for them.

An attention layer is a module with children `q_norm` and `k_norm`, timm's names, that are called with its queries and
keys, (B, ..., heads, N, d), as they enter the product; `nn.Identity` where there is nothing to normalise. Hooks read
what those two give. Outside `recording` there are none, so evaluation and export see the plain network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from edgefw.contracts.student import AttentionHeads, StudentOutput
from edgefw.training.network import StudentNetwork


def attention_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Attention layers by name, in the order of the modules."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(getattr(module, "q_norm", None), nn.Module)
        and isinstance(getattr(module, "k_norm", None), nn.Module)
    }


def is_by_head(layer: nn.Module, values: Tensor) -> bool:
    """Whether queries or keys are (..., heads, N, d); a few of timm's layers have (..., N, heads, d) there."""
    return values.ndim >= 4 and values.shape[-3] == getattr(layer, "num_heads", values.shape[-3])


@contextmanager
def recording(*networks: nn.Module | None) -> Iterator[None]:
    """Inside the block, every `StudentNetwork` in `networks` fills `StudentOutput.attention`."""
    students = {id(m): m for n in networks if n is not None for m in n.modules() if isinstance(m, StudentNetwork)}
    hooks = [hook for student in students.values() for hook in _hooks(student)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hooks(student: StudentNetwork) -> Iterator[Any]:
    seen: list[AttentionHeads] = []
    for layer in attention_layers(student).values():
        yield from _layer_hooks(layer, seen)

    def begin(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.clear()

    def end(module: nn.Module, inputs: tuple[Tensor, ...], output: StudentOutput) -> StudentOutput:
        images = len(inputs[0])
        return output._replace(attention=tuple(AttentionHeads(*(_by_image(v, images) for v in one)) for one in seen))

    yield student.register_forward_pre_hook(begin)
    yield student.register_forward_hook(end)


def _layer_hooks(layer: Any, seen: list[AttentionHeads]) -> Iterator[Any]:
    queries: list[Tensor] = []

    def keep_queries(module: nn.Module, inputs: Any, output: Tensor) -> None:
        queries[:] = [output]

    def keep_both(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if is_by_head(layer, output):
            seen.append(AttentionHeads(queries.pop(), output))

    hooks: list[tuple[nn.Module, Callable[..., None]]] = [(layer.q_norm, keep_queries), (layer.k_norm, keep_both)]
    for module, hook in hooks:
        yield module.register_forward_hook(hook)


def _by_image(values: Tensor, images: int) -> Tensor:
    """Windows that stand in the place of images, (B windows, ...), get a dimension of their own."""
    return values if len(values) == images else torch.unflatten(values, 0, (images, -1))
