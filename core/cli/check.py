"""`edgefw check`: the plan of a recipe. It builds what a run would build, and trains and keeps nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from edgefw.planning.plan import plan
from edgefw.planning.text import as_text
from edgefw.recipe.compose import compose
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry

CACHE = "EDGEFW_CACHE"
"""The environment variable that names a cache for several runs, as `edgefw run` reads it."""


@click.command("check")
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--static", is_flag=True, help="Check names, options, fit and label lists only: needs neither data nor weights."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(recipe: str, overrides: tuple[str, ...], static: bool, as_json: bool) -> None:
    """Print the plan of RECIPE, a shipped name or a YAML file; nothing is trained.

    Pieces and where they come from, shapes, parameters, samples, steps, memory and disk. A step of each phase is tried
    on random numbers, so that shapes that do not fit are found now.
    """
    registry = Registry()
    composition = compose(read_recipe(recipe, overrides), registry)
    with _cache() as cache:
        found = plan(composition, registry, cache, static=static)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else as_text(found))


@contextmanager
def _cache() -> Iterator[Path]:
    """The shared cache where there is one, else a folder that is removed afterwards."""
    named = os.environ.get(CACHE)
    if named:
        folder = Path(os.path.expanduser(named)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with TemporaryDirectory(prefix="edgefw-check-") as temporary:
        yield Path(temporary)
