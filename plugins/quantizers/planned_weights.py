"""How large a file of `weight-only` will be, from the network alone, before anything is exported.

What ONNX will write: a linear layer that is shown rows (B, D) becomes Gemm, one that is shown tokens (B, N, D) or a map becomes MatMul,
whose matrix is packed; kernels and Gemm's matrices take a byte per number. One black image shows which layers are shown what. Layers that it
does not reach are taken for layers of tokens. Biases, norms and tables stay float; graphs add little and are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgefw.plugins.quantizers.stored_weights import SMALLEST

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FLOAT = 4


def planned_bytes(networks: Sequence[nn.Module], bits: int, block: int) -> int:
    """Bytes of weights, steps and zero points.

    Args:
        networks: the student (with `spec`, from pixels (B, C, S, S)), then what a graph has beside it.
        bits: of MatMul's matrices, 4 or 8.
        block: rows of such a matrix that share a step.
    """
    rows_only = _shown_rows(networks[0])
    size, counted = 0, set()
    for layer, parameter in _parameters(networks):
        if id(parameter) in counted:
            continue
        counted.add(id(parameter))
        size += _bytes(layer, parameter, layer in rows_only, bits, block)
    return size


def packs_nothing(network: nn.Module) -> bool:
    """Whether a student is sure to become a graph without a MatMul of a matrix that would be packed.

    A linear layer with a bias that is shown rows alone becomes Gemm; any other matrix of at least `SMALLEST` numbers may be one of MatMul.

    Args:
        network: the student, a module with `spec`.
    """
    rows_only = _shown_rows(network)
    matrices = [each for each in _parameters([network]) if each[1].ndim == 2 and each[1].numel() >= SMALLEST]
    return all(layer in rows_only and layer.bias is not None for layer, _ in matrices)


def _parameters(networks: Sequence[nn.Module]) -> Iterator[tuple[nn.Module, Tensor]]:
    for network in networks:
        for layer in network.modules():
            for parameter in layer.parameters(recurse=False):
                yield layer, parameter


def _bytes(layer: nn.Module, parameter: Tensor, is_gemm: bool, bits: int, block: int) -> int:
    numbers = parameter.numel()
    if numbers < SMALLEST or not _is_weight(layer, parameter):
        return _FLOAT * numbers
    if is_gemm or isinstance(layer, _CONVOLUTIONS):
        channels = parameter.shape[1 if getattr(layer, "transposed", False) else 0]
        return numbers + channels * (_FLOAT + 1)
    outputs, summed = parameter.shape
    blocks = -(-summed // block)
    return outputs * (blocks * (block * bits // 8 + _FLOAT) + -(-blocks * bits // 8))


def _is_weight(layer: nn.Module, parameter: Tensor) -> bool:
    """Whether a parameter is a kernel or a factor of a matrix product."""
    if isinstance(layer, nn.MultiheadAttention):
        return parameter is layer.in_proj_weight
    return isinstance(layer, (nn.Linear, *_CONVOLUTIONS)) and parameter is layer.weight


def _shown_rows(network: nn.Module) -> set[nn.Module]:
    """The linear layers that a network shows rows (B, D) alone."""
    dimensions: dict[nn.Module, int] = {}

    def look(layer: nn.Module, inputs: tuple[Tensor, ...], _: Any) -> None:
        dimensions[layer] = max(dimensions.get(layer, 0), inputs[0].ndim)

    hooks = [layer.register_forward_hook(look) for layer in network.modules() if isinstance(layer, nn.Linear)]
    spec: Any = network.spec
    was_training, size = network.training, spec.input.size
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, spec.input.channels, size, size))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    inside = {layer.out_proj for layer in network.modules() if isinstance(layer, nn.MultiheadAttention)}
    return {layer for layer, found in dimensions.items() if found == 2} | inside  # torch flattens what `out_proj` reads
