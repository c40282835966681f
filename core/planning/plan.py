"""The plan of a recipe: its pieces and their shapes, samples, steps, memory and disk. Builds pieces, trains nothing.

Weights are loaded as a run would load them, because shapes, parameters and licences are facts of the built pieces. A
plan with `static=True` builds nothing: names, options, fit and lists of label names are checked, and neither data nor
weights are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgefw import __version__
from edgefw.environment import used_plugins
from edgefw.errors import DataError
from edgefw.planning.label_files import check_label_files

if TYPE_CHECKING:
    from edgefw.planning.memory import Line
    from edgefw.planning.planned_run import PlannedRun
    from edgefw.recipe.compose import Composition
    from edgefw.registry.loading import Registry
    from edgefw.stages.phase_pieces import TrainingInputs
    from edgefw.training.job import PhaseJob


def plan(composition: Composition, registry: Registry, cache: Path, *, static: bool = False) -> dict[str, Any]:
    """The plan as JSON values; `docs/cli.md` describes them.

    Args:
        composition: the recipe's techniques, which fit together.
        registry: where they came from.
        cache: an existing folder for what pieces may keep (indexes).
        static: leave out everything that needs a built piece.

    Raises:
        EdgefwError: if a list of label names cannot be read, a piece cannot be built, data cannot be read, or shapes do not fit.
    """
    recipe = composition.recipe
    check_label_files(recipe)
    head = {
        "edgefw": __version__,
        "recipe": recipe.name,
        "source": recipe.source,
        "static": static,
        "pieces": _pieces(composition, registry),
    }
    if static:
        return head
    from edgefw.planning.planned_run import PlannedRun

    return {**head, **_sections(PlannedRun(composition, cache))}


def _pieces(composition: Composition, registry: Registry) -> list[dict[str, Any]]:
    origins = {(row["kind"], row["name"]): row for row in used_plugins(composition, registry)}
    return [
        {
            "path": chosen.path,
            "kind": str(chosen.kind),
            "name": chosen.technique.name,
            "distribution": origins[str(chosen.kind), chosen.technique.name].get("distribution", ""),
            "version": origins[str(chosen.kind), chosen.technique.name].get("version", ""),
            "provides": sorted(word.partition(".")[2] for word in chosen.provides),
            "options": chosen.config.model_dump(mode="json"),
        }
        for chosen in composition.all()
    ]


def _sections(run: PlannedRun) -> dict[str, Any]:
    from edgefw.planning.artefacts import planned_artefacts
    from edgefw.planning.disk import disk_use
    from edgefw.planning.trial import teacher_memory
    from edgefw.stages.advice import advice
    from edgefw.training.operators import operators

    data = _data(run)
    want = frozenset().union(*(job.want for job in run.jobs))
    teacher = teacher_memory(run.pieces.teacher, want)
    phases = [_phase(run, index, teacher) for index in range(len(run.jobs))]
    artefacts = planned_artefacts(run.pieces, run.jobs[-1].scheme, run.student, run.config.export.heat)
    counts = {"scored": run.splits["train"].visible, "val": run.splits["val"].visible}
    largest = max(phases, key=lambda phase: phase["memory"]["peak"])
    found = operators(run.student, run.student.spec.input)
    return {
        "data": data,
        "teacher": _teacher(run),
        "student": {**_student(run), "operators": found},
        "curate": _curate(run),
        "phases": phases,
        "export": artefacts,
        "verify": {"split": run.config.verify.split, "samples": _verified(run), "labels": len(run.labels)},
        "memory": {"peak": largest["memory"]["peak"], "where": largest["name"]},
        "disk": disk_use(run.config, run.pieces.teacher.spec, counts, phases, artefacts),
        "advice": advice(run.pieces, run.student, found, run.jobs[-1].quantizer),
        "warnings": [*_warnings(run), *_left_out(run), *_unopened(artefacts)],
    }


def _data(run: PlannedRun) -> dict[str, Any]:
    dataset = run.pieces.dataset
    facts = {name: split.to_json() for name, split in run.splits.items()}
    return {"classes": len(dataset.classes), "licence": dataset.licence, "splits": facts}


def _teacher(run: PlannedRun) -> dict[str, Any]:
    teacher = run.pieces.teacher
    facts = asdict(teacher.spec)
    return {
        "sees": run.pieces.teacher_modality,
        **{key: facts[key] for key in ("width", "image_size", "tokens", "licence", "source")},
        "parameters": sum(parameter.numel() for parameter in teacher.module.parameters()),
    }


def _student(run: PlannedRun) -> dict[str, Any]:
    facts = asdict(run.student.spec)
    head = sum(parameter.numel() for parameter in run.student.head.parameters())
    return {
        **{key: facts[key] for key in ("input", "width", "map", "parameters", "licence", "source")},
        "head": {"in": run.student.spec.width, "out": run.pieces.teacher.spec.width, "parameters": head},
    }


def _curate(run: PlannedRun) -> dict[str, Any] | None:
    curate = run.config.curate
    if curate is None:
        return None
    return {"labels": len(run.superset), "kept": run.kept, "at_most": run.is_bound, "rule": curate.rule}


def _phase(run: PlannedRun, index: int, teacher: Line) -> dict[str, Any]:
    from edgefw.contracts.sampler import SampleTable
    from edgefw.training.steps import make_plan

    job, pieces, inputs = run.jobs[index], run.phases[index], cast("TrainingInputs", run.inputs_of_phases)
    samples, used = len(job.data.ids), pieces.used(inputs)
    try:
        length = make_plan(job.phase, job.sampler, SampleTable(size=samples, label=job.data.labels), 1)
    except DataError as error:
        raise DataError(pieces.too_short(inputs, error, "training")) from error
    return {
        "name": job.phase.name,
        "samples": samples,
        "at_most": run.is_bound or (used.left_out > 0 and run.kept < used.of),
        "batch": job.phase.batch,
        "accumulate": job.phase.accumulate,
        "steps_per_epoch": length.per_epoch,
        "steps": length.steps,
        "epochs": length.epochs,
        "size": job.data.shape[-1],  # type: ignore[attr-defined]  # random data states its shape
        "want": sorted(job.want),
        "answers": job.data.turns,
        "memory": _memory(job, teacher),
    }


def _memory(job: PhaseJob, teacher: Line) -> dict[str, int]:
    """Bytes of a phase. The teacher looks at a batch in every step, or fills the cache before the first one."""
    from edgefw.planning.trial import try_phase

    parts = try_phase(job)
    cached = job.phase.cache is not None
    looking = teacher.at(max(job.phase.batch, 32) if cached else job.phase.batch)
    training = sum(parts.values()) + (teacher.constant if cached else looking)
    return {**parts, "teacher": looking, "peak": max(training, parts["weights"] + looking)}


def _verified(run: PlannedRun) -> int:
    held_out, limit = run.splits[run.config.verify.split].samples, run.config.verify.samples
    return held_out if limit is None else min(limit, held_out)


def _left_out(run: PlannedRun) -> list[str]:
    inputs = cast("TrainingInputs", run.inputs_of_phases)
    told = [pieces.left_out(inputs, "training") for pieces in run.phases]
    return [f"{sentence}; they are left out of the phase" for sentence in told if sentence]


def _unopened(artefacts: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"export: {row['name']} is {row['unopened']}" for row in artefacts if row["unopened"]]


def _warnings(run: PlannedRun) -> list[str]:
    import torch

    found = [
        f"modalities.{name}: no {split} sample has it"
        for split, facts in run.splits.items()
        for name, count in facts.modalities.items()
        if facts.samples and not count
    ]
    device = run.config.compute.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        found.append(f"compute.device: {device} is not on this machine")
    if not run.labels:
        found.append("evaluate.labels: no label names, so accuracy is not measured")
    return found
