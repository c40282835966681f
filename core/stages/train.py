"""Training: the recipe's phases in order, each starting from the weights of the one before.

A finished phase is used again while nothing it depends on has changed; an interrupted one goes on from its checkpoint.
This file builds what a phase needs and hands it to `edgefw.training`; the loop itself is there.
"""

from __future__ import annotations

import hashlib
import shutil
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefw.contracts.quantizer import refuse_misfits
from edgefw.run_folder import write_json
from edgefw.stages.fingerprints import data_state, digest, piece
from edgefw.stages.kept import FILE as KEPT
from edgefw.stages.licences import RECORDED, stated
from edgefw.stages.phase_display import PhaseDisplay
from edgefw.stages.phase_pieces import PhasePieces, TrainingInputs

if TYPE_CHECKING:
    from torch import nn

    from edgefw.recipe.compose import ChosenPhase
    from edgefw.stages.context import StageContext
    from edgefw.training.network import StudentNetwork

_STATE = "phase.json"


def fingerprint(context: StageContext) -> dict[str, Any]:
    """Kept samples, validation data, every technique that takes part, and each phase's keys."""
    composition, config, base = context.composition, context.recipe.config, context.recipe.base
    kept = context.folder.stage("curate") / KEPT
    return {
        "seed": config.seed,
        "device": config.compute.device,
        "precision": config.compute.precision,
        "memory_format": config.compute.memory_format,
        "processes": context.processes.count,
        "kept": hashlib.sha256(kept.read_bytes()).hexdigest(),
        "train": data_state(context.pieces.dataset, "train"),
        "val": data_state(context.pieces.dataset, "val"),
        "data": piece(composition.dataset, base),
        "modalities": {name: piece(chosen, base) for name, chosen in composition.modalities.items()},
        "teacher": piece(composition.teacher, base),
        "student": piece(composition.student, base),
        "head": piece(composition.head, base),
        "labels": _label_inputs(context),
        "phases": [_phase_inputs(phase, base) for phase in composition.phases],
    }


def run(context: StageContext) -> dict[str, Any]:
    """Train every phase that is not finished; writes `train/<phase>/`."""
    _remove_other_phases(context)
    inputs = TrainingInputs(context)
    student = context.pieces.student_network()
    refuse_misfits(context.pieces.quantizers, student)
    trainable = [parameter.requires_grad for parameter in student.parameters()]
    results: list[dict[str, Any]] = []
    network: nn.Module | None = None
    plans = _plans(context)
    for pieces, plan in zip(_checked_phases(context, inputs, plans), plans):
        for parameter, learns in zip(student.parameters(), trainable):
            parameter.requires_grad_(learns)  # a scheme may have frozen a part for its own phase
        network, result = _phase(context, inputs, pieces, plan, student, network)
        results.append(result)
    return _result(context, inputs, student, results)


def _checked_phases(context: StageContext, inputs: TrainingInputs, plans: list[tuple[str, str]]) -> list[PhasePieces]:
    """The pieces of each phase; refuses a phase whose samples do not do, before one is trained."""
    phases = [PhasePieces(context, chosen, index) for index, chosen in enumerate(context.composition.phases)]
    for pieces, (_, action) in zip(phases, plans):
        if action != "keep":
            pieces.check_samples(inputs, context.processes.count)
    return phases


def _plans(context: StageContext) -> list[tuple[str, str]]:
    """(fingerprint, "keep" | "resume" | "start") of each phase; decided by the first process, before anything runs."""
    if not context.processes.is_main:
        return context.processes.share([])
    marks = _marks(fingerprint(context))
    plans: list[tuple[str, str]] = []
    for mark, chosen in zip(marks, context.composition.phases):
        plan = _plan(context, mark, chosen)
        keeps_on = all(earlier == "keep" for _, earlier in plans)
        plans.append((mark, plan if keeps_on else "start"))
    return context.processes.share(plans)


def _plan(context: StageContext, mark: str, chosen: ChosenPhase) -> str:
    folder = _folder(context, chosen)
    state = _read_state(context, chosen)
    if state.get("fingerprint") != mark:
        return "start"
    if state.get("result") is not None and _sha256(folder / "student.safetensors") == state["result"]["sha256"]:
        return "keep"
    return "resume" if context.resume else "start"


def _marks(inputs: dict[str, Any]) -> list[str]:
    """One fingerprint per phase: of everything common, and of the phases up to it."""
    phases = inputs.pop("phases")
    return [digest([inputs, phases[: index + 1]]) for index in range(len(phases))]


def _phase(
    context: StageContext,
    inputs: TrainingInputs,
    pieces: PhasePieces,
    plan: tuple[str, str],
    student: StudentNetwork,
    earlier: nn.Module | None,
) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network of a phase, and its record; `student` carries the weights from phase to phase."""
    from edgefw.training.assemble import load_trained
    from edgefw.training.phase import train_phase

    chosen, (mark, action) = pieces.chosen, plan
    folder = _folder(context, chosen)
    if action == "keep":
        context.progress.say(f"train: phase {chosen.phase.name} is finished and unchanged, its weights are used")
        record: dict[str, Any] = _read_state(context, chosen)["result"]
        return load_trained(folder / "student.safetensors", student, pieces.scheme, pieces.quantizer), record
    if context.processes.is_main:
        _begin(folder, mark, fresh=action == "start")
    context.processes.wait()
    left_out = pieces.left_out(inputs, "kept")
    if left_out:
        context.progress.say(f"{left_out}; it trains on the other {len(pieces.used(inputs).rows):,}")
    with PhaseDisplay(context, chosen.phase.name) as display:
        job = pieces.job(
            inputs,
            student=student,
            folder=folder,
            reference=_frozen(earlier) if pieces.needs_reference else None,
            resume=action == "resume",
            callbacks=display.callbacks(),
        )
        result = train_phase(job)
    context.processes.wait()
    record = {**result.to_json(), "samples": len(job.data.ids), "sha256": _sha256(result.weights)}
    if context.processes.is_main:
        write_json(folder / _STATE, {"fingerprint": mark, "result": record})
        context.folder.collect_metrics([phase.phase.name for phase in context.composition.phases])
    return result.network, record


def _remove_other_phases(context: StageContext) -> None:
    """Remove phases that an earlier version of the recipe had."""
    names = {phase.phase.name for phase in context.composition.phases}
    if context.processes.is_main:
        for state in context.folder.stage("train").glob(f"*/{_STATE}"):
            if state.parent.name not in names:
                shutil.rmtree(state.parent)


def _begin(folder: Path, mark: str, *, fresh: bool) -> None:
    if fresh and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _STATE, {"fingerprint": mark, "result": None})


def _read_state(context: StageContext, chosen: ChosenPhase) -> dict[str, Any]:
    file = _folder(context, chosen) / _STATE
    return context.folder.read_json(str(file.relative_to(context.folder.path))) if file.is_file() else {}


def _folder(context: StageContext, chosen: ChosenPhase) -> Path:
    return context.folder.stage("train") / chosen.phase.name


def _frozen(network: nn.Module | None) -> nn.Module | None:
    return None if network is None else deepcopy(network).eval().requires_grad_(False)


def _sha256(file: Path) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def _label_inputs(context: StageContext) -> list[Any]:
    """What decides the texts that losses and validation see."""
    config = context.recipe.config
    curate = config.curate.template if config.curate else None
    labels = config.evaluate.labels
    if isinstance(labels, str):
        labels = context.pieces.evaluation_labels()
    return [curate, labels, config.evaluate.template]


def _phase_inputs(chosen: ChosenPhase, base: Path) -> dict[str, Any]:
    """A phase's keys without the ones that change nothing but speed, and its techniques."""
    losses = [
        [loss.weight, piece(loss.loss, base), piece(loss.projector, base) if loss.projector else None]
        for loss in chosen.losses
    ]
    return {
        "keys": chosen.phase.model_dump(
            mode="json", exclude={"scheme", "views", "sampler", "losses", "quantizer", "gradient_checkpointing"}
        ),
        "scheme": piece(chosen.scheme, base),
        "views": piece(chosen.views, base),
        "sampler": piece(chosen.sampler, base),
        "losses": losses,
        "quantizer": piece(chosen.quantizer, base) if chosen.quantizer else None,
    }


def _result(
    context: StageContext, inputs: TrainingInputs, student: StudentNetwork, phases: list[dict[str, Any]]
) -> dict[str, Any]:
    from dataclasses import asdict

    last = phases[-1]
    pieces = context.pieces
    teacher = {key: value for key, value in asdict(pieces.teacher.spec).items() if key != "unlicensed"}
    return {
        "phases": phases,
        "samples": len(inputs.samples),
        "validation_samples": len(inputs.validation_samples),
        "steps": sum(phase["steps"] for phase in phases),
        "seconds": round(sum(phase["seconds"] for phase in phases), 3),
        "cpu_seconds": round(sum(phase["cpu_seconds"] for phase in phases), 3),
        "losses": last["losses"],
        "validation": last["validation"],
        "weights": f"train/{last['name']}/{last['weights']}",
        "sha256": last["sha256"],
        "teacher": {"technique": context.composition.teacher.technique.name, **teacher},
        "student": {
            "technique": context.composition.student.technique.name,
            **asdict(student.spec),
            "parameters_with_head": sum(value.numel() for value in student.parameters()),
        },
        "data": {"technique": context.composition.dataset.technique.name, "licence": pieces.dataset.licence},
        RECORDED: stated(context.composition),
    }
