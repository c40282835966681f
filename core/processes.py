"""Which of the launched processes this one is, and how they wait for each other.

`accelerate launch` and `torchrun` start one process per device and say so in the environment. Only the first one
writes files and prints; the others wait for it. A lone process never imports accelerate here.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from edgefw.errors import RecipeError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""How long the others wait while the first process curates; the library's default is minutes."""


@dataclass(frozen=True)
class Processes:
    """This process's `rank` among `count`, on `device` as the recipe says it ("cpu" makes the group a CPU group)."""

    rank: int = 0
    count: int = 1
    device: str = "auto"

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            self._join()
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def share(self, value: T) -> T:
        """The first process's `value`, in every process."""
        if self.count == 1:
            return value
        self._join()
        from accelerate.utils import broadcast_object_list

        shared: list[T] = broadcast_object_list([value])
        return shared[0]

    def torch_device(self) -> torch.device:
        """The device this process computes on.

        Raises:
            RecipeError: if the recipe names a device that this machine does not have.
        """
        import torch

        if self.count > 1:
            self._join()
            from accelerate import PartialState

            device: torch.device = PartialState().device
            return device
        if self.device == "auto":
            return torch.device(next((name for name in ("cuda", "mps") if _exists(name)), "cpu"))
        if not _exists(self.device):
            raise RecipeError(f"compute.device: this machine has no '{self.device}'. Use auto or cpu.")
        return torch.device(self.device)

    def _join(self) -> None:
        from accelerate import PartialState

        PartialState(cpu=uses_cpu(self.device), timeout=_PATIENCE)
        atexit.unregister(leave)
        atexit.register(leave)


def launched(device: str = "auto") -> Processes:
    """What the launcher says of this process; a lone one if it was not launched."""
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")), device)


def leave() -> None:
    """Say goodbye to the other processes; done at exit, too.

    The group has threads: an interpreter that ends under them aborts at times, and the launcher calls a finished run failed.
    """
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def threads_sleep() -> None:
    """Let the threads of CPU kernels sleep while they wait for each other, instead of spinning.

    Spinning threads keep the cores from the loader processes. A setting of the user's own stays; it has no effect once
    torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def uses_cpu(device: str = "auto") -> bool:
    """Whether `compute.device` means the CPU: "cpu", or "auto" where the launcher says so or nothing faster is there."""
    if device != "auto":
        return device == "cpu"
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1", "yes"):
        return True
    import torch

    return not torch.accelerator.is_available()


def _exists(device: str) -> bool:
    import torch

    kind, _, index = device.partition(":")
    if kind == "cuda":
        return torch.cuda.is_available() and int(index or 0) < torch.cuda.device_count()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available())
