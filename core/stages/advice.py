"""What a recipe's backends say of the student's operators: which files they slow down, why, and what to take instead.

It puts together what `edgefw.training.operators` found, `Hampered` backends and a `Replaceable` student. An advice stops nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgefw.contracts.operators import Hampered, Replaceable, rounds_activations
from edgefw.contracts.quantizer import fits
from edgefw.stages.artefact_names import artefact_name

if TYPE_CHECKING:
    from edgefw.contracts.backend import Backend
    from edgefw.contracts.quantizer import ModuleQuantizer
    from edgefw.pieces import Pieces
    from edgefw.training.network import StudentNetwork


def replacements(student: StudentNetwork) -> list[str]:
    """Backbones without the operators, as a recipe names them; empty where the student knows none."""
    return list(student.trunk.replacements()) if isinstance(student.trunk, Replaceable) else []


def advice(
    pieces: Pieces, student: StudentNetwork, found: Mapping[str, int], trained_with: ModuleQuantizer | None
) -> list[dict[str, Any]]:
    """One row per backend and operator, the recipe's backends in order.

    Args:
        pieces: backends and post-training quantizers.
        student: trunk and head, as it starts.
        found: what `edgefw.training.operators.operators` counted in it.
        trained_with: the quantizer of the last phase, if it had one; post-training quantizers are idle then.

    Returns:
        Rows {operator, calls, backend, files, why, instead}. `files` are the rounded files of the recipe that it concerns, and
        empty where there are none: a quantizer that is added later will meet it.
    """
    rows = []
    for backend in {backend.name: backend for backend in pieces.backends}.values():
        reasons = backend.slow_when_rounded if isinstance(backend, Hampered) else {}
        files = list(dict.fromkeys(_rounded(pieces, backend.name, trained_with)))
        for operator in (name for name in found if name in reasons):
            row = {"operator": operator, "calls": found[operator], "backend": backend.name, "files": files}
            rows.append({**row, "why": reasons[operator], "instead": replacements(student)})
    return rows


def _rounded(pieces: Pieces, name: str, trained_with: ModuleQuantizer | None) -> Iterator[str]:
    """Names of a backend's files whose activations are integers, of all its entries."""
    for backend, label in zip(pieces.backends, (chosen.label for chosen in pieces.composition.backends)):
        if backend.name == name:
            yield from _rounded_by(pieces, backend, label, trained_with)


def _rounded_by(pieces: Pieces, backend: Backend, label: str, trained_with: ModuleQuantizer | None) -> Iterator[str]:
    entry = backend.name, label
    if trained_with is not None:
        yield artefact_name(entry, trained_with.precision)
        return
    for quantizer, chosen in zip(pieces.quantizers, pieces.composition.quantizers):
        if fits(quantizer, backend) and rounds_activations(quantizer):
            yield artefact_name(entry, quantizer.precision, chosen.label)
