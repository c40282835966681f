"""From a bare student to the network a phase trains, in the one order that works: quantizer, then scheme.

What a scheme adds for export too is prepared by the quantizer as well, part by part.

Training, export and resume all build the network here, so that a saved state dict always fits.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgefw.contracts.scheme import Extending
from edgefw.errors import TrainingError

if TYPE_CHECKING:
    from edgefw.contracts.quantizer import ModuleQuantizer
    from edgefw.contracts.scheme import Scheme
    from edgefw.contracts.student import InputSpec


def example_pixels(input: InputSpec) -> Tensor:
    """A fixed pair of noise images (2, C, S, S), for quantizers that trace the network; draws from no global RNG."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, input.channels, input.size, input.size, generator=generator)


def assemble(student: nn.Module, scheme: Scheme, quantizer: ModuleQuantizer | None = None) -> nn.Module:
    """The module that is trained: the student, prepared by the quantizer, inside what the scheme adds."""
    if quantizer is not None:
        spec = student.spec
        student = quantizer.prepare(student, example_pixels(spec.input))  # type: ignore[union-attr,arg-type]
    network = scheme.network(student)
    if quantizer is not None and isinstance(scheme, Extending):
        for name, example in scheme.extras(network).items():
            parent, _, own = name.rpartition(".")
            prepared = quantizer.prepare(network.get_submodule(name), example)
            setattr(network.get_submodule(parent), own, prepared)
    return network


def load_trained(
    weights: Path, student: nn.Module, scheme: Scheme, quantizer: ModuleQuantizer | None = None
) -> nn.Module:
    """The network of a finished phase, on the CPU and in evaluation mode.

    Args:
        weights: `student.safetensors` of the phase.
        student: a `StudentNetwork` of the same recipe; its weights are overwritten unless a quantizer copies them.

    Raises:
        TrainingError: if the file is damaged or belongs to another network.
    """
    network = assemble(student, scheme, quantizer)
    try:
        network.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainingError(
            f"{weights}: these are not the weights of this recipe's network ({str(error).strip().splitlines()[0]}). "
            "Train again, or restore the recipe they were trained with."
        ) from error
    return network.eval()
