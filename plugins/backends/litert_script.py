"""Runs in the environment `litert`: a program that torch.export captured, to a .tflite file. Imports nothing of edgefw.

    python litert_script.py PROGRAM TARGET INPUT [INPUT ...]

PROGRAM takes one tensor per INPUT, in that order; the file's signature takes them by these names.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import Tensor, nn


class Named(nn.Module):
    """A network whose arguments have names.

    Args:
        network: takes tensors by position.
        names: of its arguments, in order.
    """

    def __init__(self, network: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, **images: Tensor) -> Tensor:
        """What the network gives."""
        result: Tensor = self.network(*(images[name] for name in self.names))
        return result


def convert(program: str, target: str, names: list[str]) -> dict[str, Any]:
    """Write the file; versions, for the record."""
    import litert_torch

    captured = torch.export.load(program)
    images = dict(zip(names, captured.example_inputs[0]))
    network = Named(captured.module(), names)
    litert_torch.convert(network, sample_kwargs=images).export(target)
    return {"litert_torch": litert_torch.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    print(json.dumps(convert(sys.argv[1], sys.argv[2], sys.argv[3:])))
