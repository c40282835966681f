"""Verification: every exported file, opened in its own runtime, on real held-out samples, against the recipe's budget.

Nothing an earlier stage said is trusted: files are opened from disk, teacher and student are asked again. Results:
accuracy of teacher (on every modality, through its picture), student and artefacts; each artefact's distance to the
student it was made from; latency at batch 1, measured turn by turn; how much is int8; size; the same image alone and in a batch; what
drawn images do (a black frame must not give NaN); checks. A file whose runtime is missing is named in `unjudged`, and
one that fails on images is a check that does not hold: neither keeps the others from being judged. The result is
written whether or not the budget is kept; the engine raises `GateFailed` afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.errors import DataError
from edgefw.evaluation.budget import ALWAYS, best, best_notes, broken, checks, not_judged
from edgefw.evaluation.folded_numbers import folded_checks
from edgefw.runtime.hashes import sha256_of
from edgefw.runtime.reference import write_reference
from edgefw.stages import folded
from edgefw.stages.batch_one import beside, both_ways
from edgefw.stages.blame import Blamer, failing
from edgefw.stages.fingerprints import data_state, piece
from edgefw.stages.held_out import fingerprint_of, held_out
from edgefw.stages.opened import OpenArtefact, open_artefacts
from edgefw.stages.probing import REFERENCE, probe
from edgefw.stages.trained import load_student
from edgefw.stages.verify_cost import costs
from edgefw.stages.verify_models import STUDENT, TEACHER, Gathered, Pass
from edgefw.stages.verify_numbers import cost_notes, distances, drop, evaluation_rows, measured, not_finite
from edgefw.stages.verify_pictures import disagreements

if TYPE_CHECKING:
    from edgefw.evaluation.budget import Measured
    from edgefw.stages.answers import Answers
    from edgefw.stages.context import StageContext
    from edgefw.stages.held_out import HeldOut
    from edgefw.stages.opened import Opened
    from edgefw.stages.trained import Trained

PREDICTIONS = "predictions.npz"
IDS = "ids.json"


def fingerprint(context: StageContext) -> dict[str, Any]:
    """Files, held-out data, labels, teacher and budget."""
    config, base = context.recipe.config, context.recipe.base
    exported = context.folder.result("export")
    artefacts = [*exported["artefacts"], *exported.get("folded", [])]
    folder = context.folder.stage("export")
    return {
        "files": {row["name"]: sha256_of(folder / row["name"] / row["file"]) for row in artefacts},
        "data": data_state(context.pieces.dataset, config.verify.split),
        "teacher": piece(context.composition.teacher, base),
        "verify": config.verify.model_dump(mode="json"),
        "threads": config.compute.threads,
        **fingerprint_of(context),
    }


def run(context: StageContext, further: Callable[[], Sequence[dict[str, Any]]] = list) -> dict[str, Any]:
    """Measure, judge, and say which artefact is the best on this machine.

    Args:
        context: of the run.
        further: gives rows that are judged, too; called when the answers to drawn images are written.
    """
    held = held_out(context)
    trained, opened = load_student(context), open_artefacts(context)
    check_pairs(opened.artefacts, held)
    gathered = Pass(context, trained, opened, held).run()
    probed = probe(context, trained, opened, held)
    eye = (TEACHER, context.pieces.teacher_modality)
    records = _records(context, trained, opened, gathered)
    answers = {key: own for key, own in gathered.answers.items() if key[0] not in opened.broken}
    evaluation = evaluation_rows(answers, held.labels, eye, context.pieces.teacher.spec.logit_scale)
    limits = budget_limits(context)
    records = [{**record, "drop": _lost(answers, held, eye, record)} for record in records]
    numbers = [measured(record, not_finite(answers, record, probed.not_finite)) for record in records]
    budget = [*(broken(name, why) for name, why in opened.broken.items()), *checks(numbers, limits)]
    inside = folded.verified(context, opened, held)
    budget += folded_checks(inside, limits)
    blamed = Blamer(context, trained, held).rows(failing(opened.artefacts, budget))
    _write_predictions(context, held, answers)
    write_reference(probed.reference, context.folder.stage("verify") / REFERENCE)
    budget += further()
    chosen, keeps_all = best(_preferred(numbers, opened.artefacts), budget, limits)
    return {
        "split": context.recipe.config.verify.split,
        "samples": len(held.samples),
        "skipped": len(held.skipped),
        "labels": list(held.names),
        "evaluation": evaluation,
        "artefacts": records,
        **({"folded": inside} if inside else {}),
        "unjudged": opened.unjudged,
        "budget": budget,
        "blame": blamed,
        "best": chosen,
        "predictions": f"verify/{PREDICTIONS}",
        "disagreements": disagreements(context, held, gathered, chosen),
        "warnings": [*held.notes(), *not_judged(numbers, limits, "verify."), *best_notes(chosen, keeps_all)],
    }


def budget_limits(context: StageContext) -> dict[str, float | None]:
    """The recipe's limits by name, and those that always hold."""
    stated = context.recipe.config.verify.model_dump(exclude={"split", "samples"})
    return {**stated, **ALWAYS}


def _records(context: StageContext, trained: Trained, opened: Opened, gathered: Gathered) -> list[dict[str, Any]]:
    context.progress.say("verify: latency and memory")
    said = both_ways(opened, gathered.inputs)
    cost = costs(context, trained, opened.artefacts, gathered.inputs)
    records: list[dict[str, Any]] = []
    for artefact in opened.artefacts:
        own = artefact.record
        record = {
            **{key: own[key] for key in ("name", "backend", "source", "path", "bytes", "sha256")},
            "signature": own["signature"]["name"],
            "serves": list(artefact.roles),
            **cost[artefact.name],
            **beside(
                distances(gathered.answers, artefact.name, artefact.roles, STUDENT),
                said[artefact.name],
                gathered.truths,
                {role: own.cosine for (model, role), own in gathered.answers.items() if model == artefact.name},
            ),
        }
        records.append({**record, "warnings": [*own["warnings"], *record["warnings"], *cost_notes(record)]})
    return records


def check_pairs(artefacts: Sequence[OpenArtefact], held: HeldOut) -> None:
    """Refuse held-out samples that say nothing about an artefact of several inputs.

    Raises:
        DataError: if none of them has all the modalities that it takes at once.
    """
    for artefact in artefacts:
        inputs = artefact.signature.inputs
        if len(inputs) > 1 and not any(all(name in sample.images for name in inputs) for sample in held.samples):
            raise DataError(
                f"verify.split: no held-out sample has {' and '.join(inputs)}, which '{artefact.name}' takes together. "
                "Add such samples, verify more of them, or use a scheme without pairs."
            )


def _preferred(numbers: Sequence[Measured], artefacts: Sequence[OpenArtefact]) -> list[Measured]:
    """The best is sought among files that take one image, where there are any: they label every sample."""
    single = {artefact.name for artefact in artefacts if len(artefact.signature.inputs) == 1}
    return [entry for entry in numbers if entry.name in single] or list(numbers)


def _lost(
    answers: Mapping[tuple[str, str], Answers], held: HeldOut, eye: tuple[str, str], record: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What is lost against the float artefact; of a float artefact, or where that one is not judged, the student."""
    judged = {model for model, _ in answers}
    source = record["source"] if record["source"] in judged else STUDENT
    found = drop(answers, held.labels, eye, record["name"], source)
    return found.to_json() if found else None


def _write_predictions(context: StageContext, held: HeldOut, answers: Mapping[tuple[str, str], Answers]) -> None:
    folder = context.folder.stage("verify")
    arrays = {f"{model}/{modality}": own.prediction for (model, modality), own in answers.items()}
    with (folder / PREDICTIONS).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, labels=held.labels, **arrays)
    ids = json.dumps([sample.id for sample in held.samples], ensure_ascii=False)
    (folder / IDS).write_text(ids + "\n", encoding="utf-8")
