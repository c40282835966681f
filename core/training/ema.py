"""An exponential moving average of a network's weights.

    e <- decay e + (1 - decay) w        after each optimiser step, from e = w at the start

Floating-point buffers that hold numbers from the start (running means of norms) are averaged likewise; all others
(counters, ranges that start at infinity) are taken from the network as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of one network's weights, on the network's device.

    Args:
        network: the network that is trained, already where it is trained.
        decay: between 0 and 1; how much of the average is kept at each step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network = network
        self._weight = 1.0 - decay
        live = network.state_dict()
        sources = {n: v for n, v in live.items() if v.is_floating_point() and bool(v.isfinite().all())}
        self._average = {name: value.detach().clone() for name, value in sources.items()}
        self._averages = list(self._average.values())
        self._sources = [value.detach() for value in sources.values()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        torch._foreach_lerp_(self._averages, self._sources, self._weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network with the averaged weights, inside the block."""
        live = {name: value.detach().clone() for name, value in self._network.state_dict().items()}
        self._network.load_state_dict(self.state_dict())
        try:
            yield
        finally:
            self._network.load_state_dict(live)

    def state_dict(self) -> dict[str, Tensor]:
        """A whole state of the network, with the averaged weights in it."""
        return {**self._network.state_dict(), **self._average}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        for name, value in self._average.items():
            value.copy_(state[name])
