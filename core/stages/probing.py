"""Ask student and artefacts about drawn images: are all answers finite, and what should a bundle answer to them?

Flat images (a black frame, a white one) are only asked for finite numbers. The answers to patterns become the reference
that the bundle carries. It measures; `verify` judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.scheme import Signature
from edgefw.data.loading import read_image
from edgefw.errors import BundleError
from edgefw.evaluation import softmax, zero_shot_scores
from edgefw.runtime.drawn import Drawn, answers, bad_rows, draw
from edgefw.runtime.input_print import input_print
from edgefw.runtime.probes import ProbeSpec, spec_of
from edgefw.runtime.reference import Reference, encoded
from edgefw.stages.verify_models import student_embeddings

if TYPE_CHECKING:
    from edgefw.stages.context import StageContext
    from edgefw.stages.held_out import HeldOut
    from edgefw.stages.opened import Opened
    from edgefw.stages.trained import Trained

REFERENCE = "reference.json"
_LOOKED_AT = 8
"""So many held-out images of a sensor say what its readings are like."""
_TALLER, _WIDER = 1.37, 1.83
"""Probes are larger than the student's input, and not square: a resize has something to do in both directions."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """Rows that were not finite, by artefact, and the reference."""

    not_finite: dict[str, int] = field(default_factory=dict)
    reference: Reference


def probe(context: StageContext, trained: Trained, opened: Opened, held: HeldOut) -> Probed:
    """Show drawn images of every sensor; an artefact that fails on them is left out of `opened`."""
    specs = probe_specs(context, held)
    drawn = {name: _drawn(context, name, spec) for name, spec in specs.items()}
    signatures = [_signature(record) for record in context.folder.result("export")["artefacts"]]
    shown = {role: _sensors(signature, role) for signature in signatures for role in signature.roles}
    student = {
        role: student_embeddings(trained, {name: drawn[name].patterns for name in names})
        for role, names in shown.items()
        if all(name in specs for name in names)
    }
    told: dict[str, dict[str, str]] = {}
    not_finite: dict[str, int] = {}
    for artefact in list(opened.artefacts):
        try:
            roles = {role: _sensors(artefact.signature, role) for role in artefact.roles if role in student}
            said, not_finite[artefact.name] = answers(drawn, roles, artefact.ask)
        except BundleError as error:
            opened.drop(artefact, str(error))
            continue
        told[artefact.name] = {role: encoded(rows) for role, rows in said.items() if not bad_rows(rows)}
    reference = _reference(context, held, specs, told, student)
    inputs = {name: encoded(input_print(own.patterns)) for name, own in drawn.items()}
    return Probed(not_finite=not_finite, reference=reference.model_copy(update={"inputs": inputs}))


def probe_specs(context: StageContext, held: HeldOut) -> dict[str, ProbeSpec]:
    """What probes of each sensor are like: the readings of held-out images, in a size that fits the student's."""
    pieces, specs = context.pieces, {}
    size = pieces.student_spec.input.size
    for name, sensor in pieces.modalities.items():
        samples = [sample for sample in held.samples if name in sample.images][:_LOOKED_AT]
        if samples:
            images = [read_image(sample, name, sensor) for sample in samples]
            specs[name] = spec_of(images, round(size * _TALLER), round(size * _WIDER))
    return specs


def _drawn(context: StageContext, name: str, spec: ProbeSpec) -> Drawn:
    return draw(spec, context.pieces.preprocessing(name))


def _signature(record: Mapping[str, Any]) -> Signature:
    """Of an artefact, whether it was opened or not."""
    stated = record["signature"]
    return Signature(name=stated["name"], inputs=tuple(stated["inputs"]), serves=tuple(stated["serves"]))


def _sensors(signature: Signature, role: str) -> tuple[str, ...]:
    """The sensors of a role: itself, or those that the graph takes together."""
    return signature.inputs if len(signature.inputs) > 1 else (role,)


def _reference(
    context: StageContext,
    held: HeldOut,
    specs: Mapping[str, ProbeSpec],
    answers: dict[str, dict[str, str]],
    student: Mapping[str, np.ndarray],
) -> Reference:
    finite = {role: rows for role, rows in student.items() if not bad_rows(rows)}
    probabilities = {}
    if held.text is not None:
        scale = context.pieces.teacher.spec.logit_scale
        probabilities = {
            role: softmax(zero_shot_scores(rows, held.text), scale).tolist() for role, rows in finite.items()
        }
    return Reference(
        width=next((rows.shape[1] for rows in student.values()), 1),
        probes=dict(specs),
        answers=answers,
        student={role: encoded(rows) for role, rows in finite.items()},
        labels=list(held.names) if held.text is not None else [],
        probabilities=probabilities,
    )
