"""The most memory that a training had allocated on its CUDA device, as PyTorch's own allocator counts it.

Tensors are counted, and what the allocator keeps in store is not; neither is the CUDA context. On other devices there is no
such count, and the answer is None.
"""

from __future__ import annotations

import torch


class DevicePeak:
    """Counts from now on; what is allocated already counts too.

    Args:
        device: of the training.
        earlier: bytes at the peak of the execution that is gone on from.
    """

    def __init__(self, device: torch.device, earlier: int | None = None) -> None:
        self._device, self._earlier = device, earlier or 0
        self._counts = device.type == "cuda"
        if self._counts:
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> int | None:
        """Bytes at the peak so far; None where the device is no CUDA device."""
        if not self._counts:
            return None
        return max(self._earlier, torch.cuda.max_memory_allocated(self._device))
