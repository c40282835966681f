"""How much memory a computation needs, measured on tensors instead of guessed from layers.

Every storage that an operation makes is counted while it is alive, forward and backward, whatever keeps it: autograd,
a module, a checkpointed block that is computed again. Two small runs give a straight line over the batch size. The
workspaces inside of kernels and the fragmentation of allocators are not seen: expect a real process to need more.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch's class has no annotations
    """Counts the bytes of storages made inside the block; `peak` is the most that was alive at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = 0
        self.peak = 0
        self._known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: PyTorch would import its compiler (7 s) to keep it away from a class that never meets it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        before = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in before:
                self._count(leaf)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive -= size


@dataclass(frozen=True)
class Line:
    """Bytes as a straight line: `constant` plus `each` times the number of items."""

    constant: int
    each: int

    def at(self, items: int) -> int:
        """The bytes for so many items."""
        return max(0, self.constant + self.each * items)


def measure(run: Callable[[int], object], sizes: tuple[int, int]) -> Line:
    """The peak of `run(items)` as a line through two numbers of items, beyond what was there before.

    A first run outside of the count makes what stays: gradients, caches. So the line holds activations alone, and does
    not bend where gradients overtake them.

    Args:
        run: does the work for so many items.
        sizes: two different numbers of items, small ones: the work is done three times.
    """
    run(sizes[0])
    peaks = []
    for size in sizes:
        with PeakMemory() as memory:
            run(size)
        peaks.append(memory.peak)
    each = max(0, (peaks[1] - peaks[0]) // (sizes[1] - sizes[0]))
    return Line(constant=max(0, peaks[0] - each * sizes[0]), each=each)


def parameter_bytes(*modules: Any) -> int:
    """Bytes of parameters and buffers of some modules, shared ones once."""
    tensors = {id(tensor): tensor for module in modules for tensor in (*module.parameters(), *module.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
