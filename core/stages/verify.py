"""Verification: every exported file, opened in its own runtime, on real held-out samples, against the recipe's budget.

Nothing an earlier stage said is trusted: files are opened from disk, teacher and student are asked again. Results:
accuracy of teacher (on every modality, through its picture), student and artefacts; each artefact's distance to the
student it was made from; latency at batch 1, measured turn by turn; size; the same image alone and in a batch; checks.
The result is written whether or not the budget is kept; the engine raises `GateFailed` afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.errors import DataError
from edgefw.evaluation.budget import best, checks, not_judged
from edgefw.runtime.benchmark import Latency, time_interleaved
from edgefw.runtime.hashes import sha256_of
from edgefw.runtime.memory import growth_mib
from edgefw.stages.fingerprints import data_state, piece
from edgefw.stages.held_out import fingerprint_of, held_out
from edgefw.stages.trained import load_student
from edgefw.stages.verify_models import (
    STUDENT,
    TEACHER,
    Gathered,
    OpenArtefact,
    Pass,
    batch_difference,
    open_artefacts,
    single_feeds,
)
from edgefw.stages.verify_numbers import cost_notes, distances, drop_points, evaluation_rows, measured
from edgefw.stages.verify_pictures import disagreements

if TYPE_CHECKING:
    from edgefw.evaluation.budget import Measured
    from edgefw.stages.context import StageContext
    from edgefw.stages.held_out import HeldOut

PREDICTIONS = "predictions.npz"
IDS = "ids.json"
_SECONDS_EACH = 0.5
"""Timing per artefact at batch 1, and 20 calls at least."""


def fingerprint(context: StageContext) -> dict[str, Any]:
    """Files, held-out data, labels, teacher and budget."""
    config, base = context.recipe.config, context.recipe.base
    artefacts = context.folder.result("export")["artefacts"]
    folder = context.folder.stage("export")
    return {
        "files": {row["name"]: sha256_of(folder / row["name"] / row["file"]) for row in artefacts},
        "data": data_state(context.pieces.dataset, config.verify.split),
        "teacher": piece(context.composition.teacher, base),
        "verify": config.verify.model_dump(mode="json"),
        "threads": config.compute.threads,
        **fingerprint_of(context),
    }


def run(context: StageContext) -> dict[str, Any]:
    """Measure, judge, and say which artefact is the best on this machine."""
    held = held_out(context)
    trained, artefacts = load_student(context), open_artefacts(context)
    check_pairs(artefacts, held)
    gathered = Pass(context, trained, artefacts, held).run()
    eye = (TEACHER, context.pieces.teacher_modality)
    evaluation = evaluation_rows(gathered.answers, held.labels, eye, context.pieces.teacher.spec.logit_scale)
    records = _records(context, artefacts, gathered)
    limits = budget_limits(context)
    numbers = [measured(record, _drop(evaluation, record)) for record in records]
    chosen, keeps_all = best(_preferred(numbers, artefacts), limits)
    _write_predictions(context, held, gathered)
    return {
        "split": context.recipe.config.verify.split,
        "samples": len(held.samples),
        "skipped": len(held.skipped),
        "labels": list(held.names),
        "evaluation": evaluation,
        "artefacts": records,
        "budget": checks(numbers, limits),
        "best": chosen,
        "predictions": f"verify/{PREDICTIONS}",
        "disagreements": disagreements(context, held, gathered, chosen),
        "warnings": [*held.notes(), *_budget_notes(numbers, limits, chosen, keeps_all)],
    }


def budget_limits(context: StageContext) -> dict[str, float | None]:
    """The recipe's limits by name."""
    return dict(context.recipe.config.verify.model_dump(include={
        "max_drop", "min_cosine", "min_agreement", "max_ms", "max_mb"
    }))  # fmt: skip


def _records(context: StageContext, artefacts: Sequence[OpenArtefact], gathered: Gathered) -> list[dict[str, Any]]:
    context.progress.say("verify: latency and memory")
    latency = _latency(artefacts, gathered.inputs)
    records: dict[str, dict[str, Any]] = {}
    for artefact in artefacts:
        own, time = artefact.record, latency[artefact.name]
        record = {
            **{key: own[key] for key in ("name", "backend", "precision", "source", "path", "bytes", "sha256")},
            "signature": own["signature"]["name"],
            "serves": list(artefact.roles),
            "latency_ms_p50": time.p50_ms,
            "latency_ms_p95": time.p95_ms,
            "latency_calls": time.calls,
            "memory_mib": _memory(context, own),
            "batch_relative_error": batch_difference(artefact, gathered.inputs),
            **distances(gathered.answers, artefact.name, artefact.roles, STUDENT),
        }
        notes = cost_notes(record, records.get(str(own["source"])))
        records[artefact.name] = {**record, "warnings": [*own["warnings"], *notes]}
    return list(records.values())


def _latency(artefacts: Sequence[OpenArtefact], inputs: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Latency]:
    feeds = {artefact.name: single_feeds(artefact, _shown(artefact, inputs)) for artefact in artefacts}
    runners = {artefact.name: artefact.runner for artefact in artefacts}
    return time_interleaved(runners, feeds, seconds=_SECONDS_EACH * len(runners))


def _memory(context: StageContext, record: Mapping[str, Any]) -> float | None:
    """MiB that opening and running the file at batch 1 takes in a fresh process."""
    file = context.folder.stage("export") / record["name"] / record["file"]
    threads = context.recipe.config.compute.threads
    return growth_mib(record["backend"], record["options"], file, record["inputs"], threads=threads)


def _shown(artefact: OpenArtefact, inputs: Mapping[str, Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """Images of a role that the artefact serves and the held-out samples have."""
    return next((inputs[role] for role in artefact.roles if role in inputs), next(iter(inputs.values())))


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


def _drop(evaluation: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> float | None:
    """Points lost against the float artefact; of a float artefact, against the student."""
    return drop_points(evaluation, record["name"], record["source"] or STUDENT)


def _budget_notes(
    numbers: Sequence[Measured], limits: Mapping[str, float | None], chosen: str, keeps_all: bool
) -> list[str]:
    notes = [f"verify.{check} is not judged: it needs label texts" for check in not_judged(numbers, limits)]
    return notes if keeps_all else [*notes, f"no artefact keeps the whole budget; {chosen} keeps most of it"]


def _write_predictions(context: StageContext, held: HeldOut, gathered: Gathered) -> None:
    folder = context.folder.stage("verify")
    arrays = {f"{model}/{modality}": own.prediction for (model, modality), own in gathered.answers.items()}
    with (folder / PREDICTIONS).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, labels=held.labels, **arrays)
    ids = json.dumps([sample.id for sample in held.samples], ensure_ascii=False)
    (folder / IDS).write_text(ids + "\n", encoding="utf-8")
