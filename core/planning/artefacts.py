"""The files that export will make: one per backend, precision and graph, with inputs and a size to expect.

A float file holds four bytes per parameter; a quantised one a byte per number of matrices and kernels. Graphs and
scales add little and are not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from edgefw.contracts.scheme import Scheme
    from edgefw.pieces import Pieces

FLOAT = "fp32"


def planned_artefacts(pieces: Pieces, scheme: Scheme, network: nn.Module) -> list[dict[str, Any]]:
    """One row per artefact, in the order they are made."""
    spec = network.spec.input  # type: ignore[union-attr]
    shape = [spec.channels, spec.size, spec.size]  # type: ignore[union-attr]
    sizes = _sizes(network)
    rows = []
    for backend in pieces.backends:
        fitting = [quantizer for quantizer in pieces.quantizers if quantizer.level in backend.accepts]
        precisions = [FLOAT, *(quantizer.precision for quantizer in fitting)]
        for precision in precisions:
            for number, signature in enumerate(scheme.signatures(tuple(pieces.modalities))):
                name = f"{backend.name}-{precision}" + (f"-{signature.name}" if number else "")
                rows.append(
                    {
                        "name": name,
                        "backend": backend.name,
                        "precision": precision,
                        "signature": signature.name,
                        "inputs": {modality: shape for modality in signature.inputs},
                        "serves": list(signature.serves),
                        "bytes": sizes[precision != FLOAT],
                    }
                )
    return rows


def _sizes(network: nn.Module) -> tuple[int, int]:
    """Bytes in float and in int8."""
    tensors = [*network.parameters()]
    wide = sum(tensor.numel() for tensor in tensors if tensor.ndim > 1)
    narrow = sum(tensor.numel() for tensor in tensors if tensor.ndim <= 1)
    return 4 * (wide + narrow), wide + 4 * narrow
