"""Runs a recipe: stage after stage into a run folder, skipping what is there and unchanged.

    curate -> train -> export -> verify -> report

The engine knows the order of the stages, when one may be skipped, and what a run folder holds at its top. What a stage
does is in `edgefw.stages`. A stage is skipped when the hash of its inputs, chained to those of the stages before it,
stands in the record of a complete stage.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from edgefw import __version__
from edgefw.contracts.backend import refuse_unready
from edgefw.contracts.quantizer import NetworkChecker, refuse_misfits, refuse_pairs
from edgefw.contracts.run import RunInfo
from edgefw.environment import environment, used_plugins
from edgefw.errors import GateFailed, RecipeError
from edgefw.evaluation.budget import failures, missing
from edgefw.pieces import Pieces
from edgefw.processes import Processes, launched
from edgefw.recipe.compose import compose
from edgefw.recipe.schema import STAGES
from edgefw.registry.observers import Observers
from edgefw.registry.specs import ObserverHooks
from edgefw.reporting.progress import Progress, SilentProgress, format_seconds, make_progress
from edgefw.run_folder import RunFolder
from edgefw.stages import licences
from edgefw.stages.context import StageContext
from edgefw.stages.fingerprints import digest

if TYPE_CHECKING:
    from edgefw.recipe.read import Recipe
    from edgefw.registry.loading import Registry

CACHE = "EDGEFW_CACHE"
"""Environment variable: a folder for caches that several runs share; without it each run has its own."""

_SHARED_WORK = ("curate", "train")
"""Stages that all launched processes take part in; the others are the first one's."""

_OUTPUTS = {"report": ("report.html", "bundle/manifest.json")}
"""What a stage leaves outside its folder; it is run again when one of these is gone."""


def run(
    recipe: Recipe,
    registry: Registry,
    out: Path,
    until: str | None = None,
    resume: bool = False,
    strict_plugins: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a recipe, and give what stands in `result.json`.

    Args:
        recipe: as `read_recipe` gives it.
        registry: where its techniques come from.
        out: the run folder; new, empty, or a run of this recipe.
        until: the last stage to run; None runs all.
        resume: go on with an interrupted training; take a folder that is a run of another recipe.
        strict_plugins: a failing observer ends the run.
        progress: where to say what happens; None chooses by whether stderr is a terminal.

    Raises:
        GateFailed: when a budget was not met; everything has been written by then.
        EdgefwError: if the recipe, the data or the folder is wrong.
    """
    if until is not None and until not in STAGES:
        raise RecipeError(f"there is no stage '{until}'. Stages: {', '.join(STAGES)}.")
    composition = compose(recipe, registry)
    processes = launched(recipe.config.compute.device)
    folder = RunFolder(out)
    info = RunInfo(folder=folder.path, recipe=recipe.source, config=recipe.resolved)
    if processes.is_main:
        folder.claim(recipe.name, resume=resume)
    said = (progress or make_progress()) if processes.is_main else SilentProgress()
    try:
        processes.wait()
        context = StageContext(
            recipe=recipe,
            composition=composition,
            pieces=Pieces(composition, cache_folder(folder), said.say),
            folder=folder,
            observers=registry.observers(strict_plugins) if processes.is_main else _nobody(),
            run=info,
            progress=said,
            resume=resume,
            processes=processes,
        )
        return _observed(context, registry, until)
    finally:
        folder.release()


def cache_folder(folder: RunFolder) -> Path:
    """Where a run keeps what may be made again; made if it is missing."""
    named = os.environ.get(CACHE)
    cache = Path(os.path.expanduser(named)).absolute() if named else folder.path / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _nobody() -> Observers:
    manager = pluggy.PluginManager("edgefw")
    manager.add_hookspecs(ObserverHooks)
    return Observers(manager)


def _observed(context: StageContext, registry: Registry, until: str | None) -> dict[str, Any]:
    """The run between its first and its last observer call."""
    failure: BaseException | None = None
    try:
        context.observers.call("edgefw_run_started", run=context.run)
        _limit_threads(context.recipe.config.compute.threads)
        if context.processes.is_main:
            describe(context, registry)
        if until is None or STAGES.index(until) >= STAGES.index("export"):
            refuse_unready(context.pieces.backends, context.recipe.config.export.heat)
            refuse_pairs(context.pieces.quantizers_by_path, context.pieces.backends)
        if until is None or STAGES.index(until) >= STAGES.index("train"):
            _refuse_student(context)
        result = _stages(context, registry, until)
        if result.get("status") == "gate-failed":
            raise GateFailed(_gate_message(context.folder))
        return result
    except BaseException as error:
        failure = error
        raise
    finally:
        context.observers.call("edgefw_run_finished", run=context.run, error=failure)


def _refuse_student(context: StageContext) -> None:
    """Before data are curated; a student is built only if a quantizer wants to see it."""
    checkers = [entry for entry in context.pieces.quantizers if isinstance(entry, NetworkChecker)]
    if checkers:
        refuse_misfits(checkers, context.pieces.student_network())


def _limit_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def describe(context: StageContext, registry: Registry) -> None:
    """Write what was asked for and what it is run with."""
    import yaml

    folder, recipe = context.folder, context.recipe
    folder.write_text("recipe.yaml", recipe.text)
    folder.write_text("resolved.yaml", yaml.safe_dump(recipe.resolved, sort_keys=False, allow_unicode=True))
    folder.write_json("environment.json", environment(context.composition, registry))
    invocation = {"recipe": recipe.source, "name": recipe.name, "base": recipe.base, "overrides": recipe.overrides}
    folder.write_json("invocation.json", invocation)


def _stages(context: StageContext, registry: Registry, until: str | None) -> dict[str, Any]:
    """Every stage up to `until`; for all processes but the first this ends with the last shared stage."""
    chain = digest({"edgefw": __version__, "plugins": used_plugins(context.composition, registry)})
    rows: list[dict[str, Any]] = []
    for name in STAGES[: STAGES.index(until) + 1 if until else None]:
        if not context.processes.is_main and name not in _SHARED_WORK:
            return {}
        stage = import_module(f"edgefw.stages.{name}")
        if context.processes.is_main:
            chain = digest([chain, stage.fingerprint(context)])
        if name == "report":
            context.folder.write_json("result.json", summary(context, rows, until))
        rows.append(_stage(context, name, stage, chain))
    if not context.processes.is_main:
        return {}
    result = summary(context, rows, until)
    context.folder.write_json("result.json", result)
    return result


def _stage(context: StageContext, name: str, stage: ModuleType, mark: str) -> dict[str, Any]:
    """Run a stage, or find that it has been run; a row of `stages` in `result.json`."""
    folder, processes = context.folder, _together(context, name)
    record = folder.completed(name) if processes.is_main else None
    outputs = all((folder.path / output).exists() for output in _OUTPUTS.get(name, ()))
    skipped = processes.share(record is not None and record.fingerprint == mark and outputs)
    began = time.monotonic()
    if skipped:
        context.progress.say(f"{name}: unchanged, skipped")
    else:
        _execute(context, name, stage, mark)
    seconds = round(record.seconds if skipped and record else time.monotonic() - began, 3)
    if processes.is_main:
        result = folder.result(name)
        context.observers.call("edgefw_stage_finished", run=context.run, stage=name, result=result, skipped=skipped)
    return {"name": name, "seconds": seconds, "skipped": skipped}


def _together(context: StageContext, name: str) -> Processes:
    """The processes that take part in a stage: where only the first one works, nobody is waited for."""
    return context.processes if name in _SHARED_WORK else Processes()


def _execute(context: StageContext, name: str, stage: ModuleType, mark: str) -> None:
    began, processes = time.monotonic(), _together(context, name)
    context.observers.call("edgefw_stage_started", run=context.run, stage=name)
    context.progress.say(f"{name}: started")
    if processes.is_main:
        if name != "report":
            (context.folder.path / "result.json").unlink(missing_ok=True)  # it no longer tells the truth
        context.folder.begin(name)
    processes.wait()
    if name == "report":
        import_module("edgefw.stages.bundle_files").write_bundle(context)
    result = stage.run(context)
    if processes.is_main:
        seconds = time.monotonic() - began
        context.folder.finish(name, mark, result, seconds)
        context.progress.say(f"{name}: done in {format_seconds(seconds)}")
    processes.wait()


def summary(context: StageContext, stages: Sequence[Mapping[str, Any]], until: str | None = None) -> dict[str, Any]:
    """`result.json`: what a script wants to know of a run; the reference is docs/runs.md."""
    names = [row["name"] for row in stages]
    done = {name: context.folder.result(name) for name in names if context.folder.completed(name)}
    verify = done.get("verify", {})
    failed = [row for row in verify.get("budget", []) if not row["ok"]]
    unjudged = verify.get("unjudged", [])
    return {
        "edgefw": __version__,
        "recipe": context.recipe.source,
        "status": "gate-failed" if failed or unjudged else "ok",
        "until": until,
        "evaluation": verify.get("evaluation", []),
        "artefacts": verify.get("artefacts", []),
        "unjudged": unjudged,
        "budget": verify.get("budget", []),
        "best": verify.get("best"),
        "stages": [dict(row) for row in stages],
        "provenance": _provenance(context, done),
    }


def _provenance(context: StageContext, done: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    curate, train = done.get("curate", {}), done.get("train", {})
    return {
        "recipe_sha256": digest(context.recipe.resolved),
        "overrides": list(context.recipe.overrides),
        "seed": context.recipe.config.seed,
        "weights": train.get("weights"),
        "weights_sha256": train.get("sha256"),
        **licences.inputs(context, train),
        "samples": {key: curate.get(key) for key in ("total", "kept", "skipped")},
        "environment": "environment.json",
    }


def _gate_message(folder: RunFolder) -> str:
    verified, where = folder.result("verify"), folder.path / "verify" / "result.json"
    failed, unjudged = failures(verified["budget"]), missing(verified["unjudged"])
    parts = [f"The budget of verify was not met ({where}):\n{failed}"] if failed else []
    return "\n".join([*parts, *([f"Not everything was judged ({where}):\n{unjudged}"] if unjudged else [])])
