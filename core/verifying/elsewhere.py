"""Verify a finished run on other samples: another data set, other labels, another split. Nothing is trained again.

The other samples may lack a sensor: what they have is verified, and a warning names what they have not. The verdict is a run of its own, beside the first: a copy of what was trained and exported, with the recipe as it was
verified. Reports and comparisons read it like any run.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgefw.engine import describe
from edgefw.errors import RecipeError, RunFolderError
from edgefw.recipe.overrides import parse_override
from edgefw.registry.loading import Registry
from edgefw.reporting.progress import Progress, make_progress
from edgefw.run_folder import RunFolder
from edgefw.verifying.reverify import finished_run, recipe_of, verified, verifying_context

CHANGEABLE = ("data", "evaluate", "verify", "compute")
"""Sections of a recipe that decide what is looked at, and not what was trained."""

_TAKEN = ("curate", "train", "export", "result.json", "metrics.jsonl")


def verify_elsewhere(
    path: Path,
    overrides: Sequence[str],
    out: Path,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Verify the run at `path` under `overrides` into the new folder `out`; gives the verify stage's result.

    Raises:
        RunFolderError: if `path` is no run with exported files, or `out` holds something.
        RecipeError: if an override concerns what was trained.
        EdgefwError: whatever the stage raises; `out` is not made then.
    """
    _check(overrides)
    source, registry = finished_run(path), registry or Registry()
    recipe = recipe_of(source, overrides)
    _refuse_filled(out)
    unfinished = out.absolute().with_name(f".{out.absolute().name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        folder = _copied(source, unfinished, recipe.name)
        context = verifying_context(folder, recipe, registry, progress or make_progress(), partly=True)
        describe(context, registry)
        result = verified(context)
        folder.release()
        _put(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return result


def _check(overrides: Sequence[str]) -> None:
    for text in overrides:
        if parse_override(text).parts[0] not in CHANGEABLE:
            raise RecipeError(
                f"override '{text}': a finished run is verified on other samples, so only keys of "
                f"{', '.join(CHANGEABLE[:-1])} and {CHANGEABLE[-1]} can change. For another student, run the recipe again."
            )


def _refuse_filled(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) or out.is_file():
        raise RunFolderError(f"{out}: there is something already. Choose a new folder with --out.")


def _copied(source: RunFolder, target: Path, recipe: str) -> RunFolder:
    folder = RunFolder(target)
    folder.claim(recipe, resume=False)
    for name in _TAKEN:
        if (source.path / name).is_dir():
            shutil.copytree(source.path / name, target / name)
        elif (source.path / name).is_file():
            shutil.copyfile(source.path / name, target / name)
    return folder


def _put(unfinished: Path, out: Path) -> None:
    if out.is_dir():
        out.rmdir()  # empty, as was checked
    unfinished.rename(out)
