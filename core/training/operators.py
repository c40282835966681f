"""Which operators that edge runtimes do badly a network has, seen in one pass over two random images.

What is called counts, not what a module is named: `nn.SiLU`, `functional.silu` and `x * sigmoid(x)` are all SiLU. A
squeeze-and-excitation is a map times one number between 0 and 1 per image and channel (Hu et al. 2018,
arXiv:1709.01507). Activations of pooled features cost nothing and do not count. It does not look into compiled files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from edgefw.contracts.operators import GELU, HARDSWISH, OPERATORS, SILU, SQUEEZE_EXCITE
from edgefw.contracts.student import InputSpec

_NAMED = {"aten::silu": SILU, "aten::hardswish": HARDSWISH, "aten::gelu": GELU}
_GATES = {"aten::sigmoid": SILU, "aten::hardsigmoid": HARDSWISH}
_IMAGES = 2


def operators(network: nn.Module, input: InputSpec) -> dict[str, int]:
    """How often each operator of `edgefw.contracts.operators` is called for a batch; those that are not are left out.

    Args:
        network: takes (B, channels, size, size); it is run in evaluation mode, and then put back.
        input: channels and size.
    """
    training = network.training
    random = torch.Generator().manual_seed(0)
    pixels = torch.randn(_IMAGES, input.channels, input.size, input.size, generator=random)
    counting = _Counting()
    network.eval()
    try:
        with torch.no_grad(), counting:
            network(pixels)
    finally:
        network.train(training)
    return {name: counting.found[name] for name in OPERATORS if counting.found[name]}


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch's class has no annotations
    """Counts what the network calls inside the block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = dict.fromkeys(OPERATORS, 0)
        self._gates: Any = WeakIdKeyDictionary()  # result of a gate -> (operator, id of what it read)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: PyTorch would import its compiler to keep it away from a class that never meets it."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.removesuffix("_")
        if name in _NAMED and _is_spatial(args[0]):
            self.found[_NAMED[name]] += 1
        elif name == "aten::mul":
            self._look_at_product(args[0], args[1])
        result = func(*args, **(kwargs or {}))
        if name in _GATES:
            self._gates[result] = (_GATES[name], id(args[0]))
        return result

    def _look_at_product(self, left: Any, right: Any) -> None:
        for values, gate in ((left, right), (right, left)):
            if not (_is_spatial(values) and isinstance(gate, Tensor)):
                continue
            operator, read = self._gates.get(gate, (None, None))
            if read == id(values):
                self.found[operator] += 1
                return
            if _is_per_channel(gate, values) and not (float(gate.min()) < 0.0 or float(gate.max()) > 1.0):
                self.found[SQUEEZE_EXCITE] += 1
                return


def _is_spatial(values: Any) -> bool:
    """Whether a tensor is a map (B, C, H, W) or (B, H, W, C), or tokens (B, N, C), of more than one place."""
    if not isinstance(values, Tensor) or values.ndim not in (3, 4):
        return False
    return max(values.shape[1:-1]) > 1 and max(values.shape[2:]) > 1


def _is_per_channel(gate: Tensor, values: Tensor) -> bool:
    """Whether there is one number per image and channel for a map, whichever way its channels lie."""
    if gate.ndim != 4 or values.ndim != 4:
        return False
    images, first, _, last = values.shape
    return gate.shape in ((images, first, 1, 1), (images, 1, 1, last))
