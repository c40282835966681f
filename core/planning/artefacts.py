"""The files that export will make: one per backend, precision and graph, with inputs and a size to expect.

A float file holds four bytes per parameter; a quantised one a byte per number of matrices and kernels, unless its quantizer
says otherwise (`SizeTeller`). Graphs and scales add little and are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from edgefw.contracts.backend import absence, float_precision, refuse_unready
from edgefw.contracts.quantizer import SizeTeller, fits, refuse_misfits, refuse_pairs
from edgefw.contracts.scheme import Extending
from edgefw.stages.artefact_names import artefact_name

if TYPE_CHECKING:
    from torch import nn

    from edgefw.contracts.backend import Backend
    from edgefw.contracts.scheme import Scheme, Signature
    from edgefw.contracts.student import InputSpec, StudentSpec
    from edgefw.pieces import Pieces
    from edgefw.recipe.chosen import Chosen


def planned_artefacts(pieces: Pieces, scheme: Scheme, network: nn.Module, heat: bool = False) -> list[dict[str, Any]]:
    """One row per artefact, in the order they are made; those of `heat` last.

    Raises:
        EdgefwError: if a backend cannot compile on this machine or read a quantizer's file, or a quantizer would refuse this student
            or fits no backend.
    """
    from edgefw.stages.folded import writes_onnx

    refuse_unready(pieces.backends, heat)
    refuse_pairs(pieces.quantizers_by_path, pieces.backends)
    refuse_misfits(pieces.quantizers, network)
    beside, spec = _beside(scheme, network), cast("StudentSpec", network.spec)
    inputs = pieces.inputs_of(spec.input)
    graphs = [
        _Graph(
            signature,
            signature.name if number else "",
            [network, *(beside if len(signature.inputs) > 1 else ())],
            {name: inputs[name] for name in signature.inputs},
        )
        for number, signature in enumerate(scheme.signatures(tuple(pieces.modalities)))
    ]
    entries = list(zip(pieces.backends, pieces.composition.backends))
    made = [(backend, list(_of_backend(pieces, backend, chosen.label, graphs))) for backend, chosen in entries]
    rows = [row for _, own in made for row in own]
    rows += _folded(pieces, [row for backend, own in made if writes_onnx(backend) for row in own])
    return rows + (_maps(*entries[0], graphs) if heat else [])


@dataclass(frozen=True)
class _Graph:
    """A graph of the scheme, what it adds to the names of files, the networks in it, the student first, and its inputs."""

    signature: Signature
    name: str
    networks: Sequence[nn.Module]
    inputs: Mapping[str, InputSpec]


def _of_backend(pieces: Pieces, backend: Backend, label: str, graphs: Sequence[_Graph]) -> Iterator[dict[str, Any]]:
    """The float files of an entry of `export.backends`, then each quantizer's."""
    entry = backend.name, label
    for graph in graphs:
        precision = float_precision(backend)
        yield _row(artefact_name(entry, precision, graph=graph.name), backend, precision, graph)
    for quantizer, chosen in zip(pieces.quantizers, pieces.composition.quantizers):
        for graph in graphs if fits(quantizer, backend) else ():
            name = artefact_name(entry, quantizer.precision, chosen.label, graph.name)
            yield _row(name, backend, quantizer.precision, graph, quantizer)


def _maps(backend: Backend, chosen: Chosen, graphs: Sequence[_Graph]) -> list[dict[str, Any]]:
    """What is said of every cell, by the first backend."""
    entry, precision = (backend.name, chosen.label), float_precision(backend)
    return [
        _row(f"map-{artefact_name(entry, precision, graph=graph.name)}", backend, precision, graph)
        for graph in graphs
        if len(graph.signature.inputs) == 1
    ]


def _folded(pieces: Pieces, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A second file of each ONNX artefact that takes one image, per modality of `export.folded`."""
    from edgefw.runtime.folded_file import INPUT
    from edgefw.stages.folded import SHAPE, refuse_idle

    made = [
        {**row, "name": f"folded-{role}-{row['name']}", "inputs": {INPUT: [*SHAPE]}, "serves": [role]}
        for row in rows
        if len(row["inputs"]) == 1
        for role in pieces.config.export.folded
        if role in row["serves"]
    ]
    refuse_idle(pieces.config.export.folded, {role for row in made for role in row["serves"]})
    return made


def _row(name: str, backend: Backend, precision: str, graph: _Graph, quantizer: object | None = None) -> dict[str, Any]:
    signature = graph.signature
    return {
        "name": name,
        "backend": backend.name,
        "precision": precision,
        "signature": signature.name,
        "inputs": {name: [own.channels, own.size, own.size] for name, own in graph.inputs.items()},
        "serves": list(signature.roles),
        "bytes": _size(quantizer, graph.networks),
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
