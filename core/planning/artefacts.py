"""The files that export will make: one per backend, precision and graph, with inputs and a size to expect.

A float file holds four bytes per parameter; a quantised one a byte per number of matrices and kernels, unless its quantizer
says otherwise (`SizeTeller`). Graphs and scales add little and are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgefw.contracts.backend import absence, float_precision, refuse_unready
from edgefw.contracts.quantizer import SizeTeller, fits, refuse_misfits, refuse_pairs
from edgefw.contracts.scheme import Extending

if TYPE_CHECKING:
    from torch import nn

    from edgefw.contracts.backend import Backend
    from edgefw.contracts.scheme import Scheme, Signature
    from edgefw.pieces import Pieces


def planned_artefacts(pieces: Pieces, scheme: Scheme, network: nn.Module, heat: bool = False) -> list[dict[str, Any]]:
    """One row per artefact, in the order they are made; those of `heat` last.

    Raises:
        EdgefwError: if a backend cannot compile on this machine or read a quantizer's file, or a quantizer would refuse this student
            or fits no backend.
    """
    refuse_unready(pieces.backends, heat)
    refuse_pairs(pieces.quantizers_by_path, pieces.backends)
    refuse_misfits(pieces.quantizers, network)
    beside = _beside(scheme, network)
    signatures = list(enumerate(scheme.signatures(tuple(pieces.modalities))))
    rows = []
    for backend in pieces.backends:
        fitting = [quantizer for quantizer in pieces.quantizers if fits(quantizer, backend)]
        for quantizer in (None, *fitting):
            precision = float_precision(backend) if quantizer is None else quantizer.precision
            for number, signature in signatures:
                size = _size(quantizer, [network, *(beside if len(signature.inputs) > 1 else ())])
                rows.append(_row(backend, precision, signature, number, network, size))
    rows += _folded(pieces, rows)
    first = pieces.backends[0]
    for number, signature in signatures:
        if heat and len(signature.inputs) == 1:
            row = _row(first, float_precision(first), signature, number, network, _size(None, [network]))
            rows.append({**row, "name": f"map-{row['name']}"})
    return rows


def _folded(pieces: Pieces, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A second file of each ONNX artefact that takes one image, per modality of `export.folded`."""
    from edgefw.runtime.folded_file import INPUT
    from edgefw.stages.folded import SHAPE, refuse_idle, writes_onnx

    names = {backend.name for backend in pieces.backends if writes_onnx(backend)}
    made = [
        {**row, "name": f"folded-{role}-{row['name']}", "inputs": {INPUT: [*SHAPE]}, "serves": [role]}
        for row in rows
        if row["backend"] in names and len(row["inputs"]) == 1
        for role in pieces.config.export.folded
        if role in row["serves"]
    ]
    refuse_idle(pieces.config.export.folded, {role for row in made for role in row["serves"]})
    return made


def _row(
    backend: Backend, precision: str, signature: Signature, number: int, network: nn.Module, size: int
) -> dict[str, Any]:
    spec: Any = network.spec
    return {
        "name": f"{backend.name}-{precision}" + (f"-{signature.name}" if number else ""),
        "backend": backend.name,
        "precision": precision,
        "signature": signature.name,
        "inputs": {modality: [spec.input.channels, spec.input.size, spec.input.size] for modality in signature.inputs},
        "serves": list(signature.roles),
        "bytes": size,
        "unopened": absence(backend),
    }


def _beside(scheme: Scheme, student: nn.Module) -> list[nn.Module]:
    """What a scheme adds to the student in graphs of several inputs."""
    if not isinstance(scheme, Extending):
        return []
    network = scheme.network(student)
    return [network.get_submodule(name) for name in scheme.extras(network)]


def _size(quantizer: object | None, networks: Sequence[nn.Module]) -> int:
    """Bytes of a float file, or of a quantizer's."""
    if isinstance(quantizer, SizeTeller):
        return quantizer.planned_bytes(networks)
    tensors = [parameter for network in networks for parameter in network.parameters()]
    wide = sum(tensor.numel() for tensor in tensors if tensor.ndim > 1)
    narrow = sum(tensor.numel() for tensor in tensors if tensor.ndim <= 1)
    return (4 if quantizer is None else 1) * wide + 4 * narrow
