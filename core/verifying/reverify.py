"""Verify a finished run again, from what lies in its folder: nothing is trained or exported, nothing is trusted.

The recipe is read from the run itself. It runs one stage, asks the run's bundle about drawn images, and brings
`result.json` up to date; the report stays as it is until `edgefw report`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefw.contracts.run import RunInfo
from edgefw.engine import cache_folder, summary
from edgefw.errors import EdgefwError, RunFolderError
from edgefw.evaluation.budget import broken
from edgefw.pieces import Pieces
from edgefw.processes import launched
from edgefw.recipe.compose import compose
from edgefw.recipe.read import Recipe, read_recipe
from edgefw.registry.loading import Registry
from edgefw.reporting.progress import Progress, make_progress
from edgefw.run_folder import RunFolder
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.reference import read_reference
from edgefw.stages import verify
from edgefw.stages.bundle_files import FOLDER as BUNDLE
from edgefw.stages.context import StageContext
from edgefw.stages.probing import REFERENCE
from edgefw.verifying.reference_check import reference_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STAGE = "verify"


def verify_run(path: Path, registry: Registry | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Run the verify stage of a run again; gives its result, and writes it.

    Raises:
        RunFolderError: if the folder is no run with exported files, or another process writes into it.
        EdgefwError: whatever the stage raises.
    """
    folder = finished_run(path)
    recipe = recipe_of(folder)
    folder.claim(recipe.name, resume=True)
    try:
        return verified(verifying_context(folder, recipe, registry or Registry(), progress or make_progress()))
    finally:
        folder.release()


def finished_run(path: Path) -> RunFolder:
    """The folder of a run that has something to verify.

    Raises:
        RunFolderError: if it is no run with exported files.
    """
    folder = RunFolder(path)
    if not folder.is_run or folder.completed("export") is None:
        raise RunFolderError(f"{path}: no run with exported files. Run its recipe up to export first.")
    return folder


def recipe_of(folder: RunFolder, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that a run was made with, its relative paths starting where they did; with further overrides.

    Raises:
        RunFolderError: if the run does not say.
        RecipeError: if an override is wrong.
    """
    stated = folder.read_json("invocation.json")
    recipe = read_recipe(str(folder.path / "resolved.yaml"), overrides)
    text = (folder.path / "recipe.yaml").read_text(encoding="utf-8")
    return replace(
        recipe,
        source=str(stated["recipe"]),
        name=str(stated["name"]),
        base=Path(str(stated["base"])),
        overrides=(*stated["overrides"], *overrides),
        text=text,
    )


def verifying_context(
    folder: RunFolder, recipe: Recipe, registry: Registry, progress: Progress, partly: bool = False
) -> StageContext:
    """What the verify stage of a run is given; with `partly`, its samples need not have every modality."""
    composition = compose(recipe, registry)
    return StageContext(
        recipe=recipe,
        composition=composition,
        pieces=Pieces(composition, cache_folder(folder), progress.say, partly),
        folder=folder,
        observers=registry.observers(),
        run=RunInfo(folder=folder.path, recipe=recipe.source, config=recipe.resolved),
        progress=progress,
        processes=launched(recipe.config.compute.device),
    )


def verified(context: StageContext) -> dict[str, Any]:
    """Run the verify stage, and bring `result.json` up to date."""
    folder, began = context.folder, time.monotonic()
    known = folder.completed(STAGE)
    folder.begin(STAGE)
    result = verify.run(context, lambda: shipped_rows(folder))
    seconds = time.monotonic() - began
    folder.finish(STAGE, known.fingerprint if known else "", result, seconds)
    rows = list(_stage_rows(folder, round(seconds, 3)))
    folder.write_json("result.json", summary(context, rows, folder.read_json("result.json").get("until")))
    return folder.result(STAGE)


def shipped_rows(folder: RunFolder) -> list[dict[str, Any]]:
    """Whether the run's bundle answers as the student, the preprocessing and the texts of now say; none without one."""
    bundle = folder.path / BUNDLE
    if not bundle.is_dir():
        return []
    try:
        with open_bundle(bundle) as opened:
            reference = read_reference(folder.stage(STAGE) / REFERENCE)
            return reference_rows(opened, reference)
    except EdgefwError as error:
        return [broken(BUNDLE, str(error))]


def _stage_rows(folder: RunFolder, seconds: float) -> Iterator[dict[str, Any]]:
    """The run's stages as `result.json` has them, with this one measured anew."""
    rows = folder.read_json("result.json").get("stages", [])
    for row in rows:
        yield {**row, "seconds": seconds, "skipped": False} if row["name"] == STAGE else row
    if all(row["name"] != STAGE for row in rows):
        yield {"name": STAGE, "seconds": seconds, "skipped": False}
