"""`edgefw run`: a recipe, from samples to a verified bundle and its report.

It turns a command line into one call of the engine, and its result into a table or JSON. Progress goes to stderr.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgefw.recipe.schema import STAGES

if TYPE_CHECKING:
    from edgefw.processes import Processes

RUNS = Path("runs")
"""Where runs go that are not told where to go."""


@click.command("run")
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Run folder; default runs/RECIPE-N.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, or with the latest one of this recipe.")
@click.option("--until", type=click.Choice(STAGES), help="Stop after this stage.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json on stdout, and nothing else.")
@click.option("--strict-plugins", is_flag=True, help="An observer plugin that fails ends the run.")
def command(
    recipe: str,
    overrides: Sequence[str],
    out: Path | None,
    resume: bool,
    until: str | None,
    as_json: bool,
    strict_plugins: bool,
) -> None:
    """Run a recipe: curate, train, export, verify, report.

    RECIPE is a YAML file or the name of a shipped recipe; KEY=VALUE changes one of its keys.
    """
    from edgefw import engine
    from edgefw.errors import GateFailed
    from edgefw.processes import launched, threads_sleep
    from edgefw.recipe.read import read_recipe
    from edgefw.registry.loading import Registry

    read = read_recipe(recipe, overrides)
    if read.config.compute.workers:
        threads_sleep()
    processes = launched(read.config.compute.device)
    folder = _folder(processes, read.name, out, resume)
    try:
        result = engine.run(read, Registry(), folder, until, resume, strict_plugins)
    except GateFailed:
        _print(processes, folder, json.loads((folder / "result.json").read_text(encoding="utf-8")), as_json)
        raise
    except KeyboardInterrupt:
        if processes.is_main:
            click.echo(f"Go on with: edgefw run {recipe} --out {folder} --resume (and the same KEY=VALUEs)", err=True)
        raise
    finally:
        if out is None and processes.is_main:
            _remove_empty(folder)
    _print(processes, folder, result, as_json)


def _folder(processes: Processes, name: str, out: Path | None, resume: bool) -> Path:
    """The run folder, the same one in every launched process."""
    if out is not None:
        return out
    return processes.share(_latest(name) if resume else _next(name)) if processes.is_main else processes.share(RUNS)


def _next(name: str) -> Path:
    """A run folder that did not exist, made now: nobody else takes it."""
    RUNS.mkdir(exist_ok=True)
    number = max(_numbers(name), default=0)
    while True:
        number += 1
        try:
            (RUNS / f"{name}-{number}").mkdir()
        except FileExistsError:
            continue
        return RUNS / f"{name}-{number}"


def _remove_empty(folder: Path) -> None:
    """A recipe that was refused before its first stage leaves no folder behind."""
    for path in (folder, RUNS):
        with suppress(OSError):
            path.rmdir()


def _latest(name: str) -> Path:
    from edgefw.errors import RunFolderError

    numbers = _numbers(name)
    if not numbers:
        raise RunFolderError(f"--resume: there is no run of '{name}' in {RUNS.absolute()}. Name its folder with --out.")
    return RUNS / f"{name}-{max(numbers)}"


def _numbers(name: str) -> list[int]:
    pattern = re.compile(rf"{re.escape(name)}-(\d+)")
    names = [entry.name for entry in RUNS.iterdir() if entry.is_dir()] if RUNS.is_dir() else []
    return [int(match[1]) for match in map(pattern.fullmatch, names) if match]


def _print(processes: Processes, folder: Path, result: dict[str, Any], as_json: bool) -> None:
    if not processes.is_main:
        return
    if as_json:
        click.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    from edgefw.reporting.run_table import print_run

    print_run(folder, result)
