"""The random state of a process: Python, NumPy, PyTorch on the CPU and on its GPU. Saved, restored, seeded, given back.

Images and batches do not use it (they draw from generators of their own); dropout and what else a network or a loss
draws does.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The state of all generators, as plain numbers and tensors."""
    numpy: Any = np.random.get_state(legacy=True)
    name, keys, position, has_gauss, gauss = numpy
    return {
        "python": random.getstate(),
        "numpy": [str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,  # type: ignore[no-untyped-call]
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Go on from `random_state`."""
    version, numbers, gauss_next = state["python"]
    random.setstate((version, tuple(numbers), gauss_next))
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def seeded(seed: int, phase: str, rank: int) -> Iterator[None]:
    """Random numbers of one phase and process inside the block; outside, as if nothing had been drawn."""
    before = random_state()
    start = int.from_bytes(hashlib.blake2b(f"{seed}\0{phase}\0{rank}".encode(), digest_size=4).digest(), "little")
    random.seed(start)
    np.random.seed(start)
    torch.manual_seed(start)
    try:
        yield
    finally:
        set_random_state(before)
