"""Which of the launched processes this one is, and how they wait for each other.

`accelerate launch` and `torchrun` start one process per device and say so in the environment. Only the first one
writes files and prints; the others wait for it. A lone process never imports accelerate here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

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

    def _join(self) -> None:
        from accelerate import PartialState

        PartialState(cpu=self.device == "cpu", timeout=_PATIENCE)


def launched(device: str = "auto") -> Processes:
    """What the launcher says of this process; a lone one if it was not launched."""
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")), device)
