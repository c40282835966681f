"""`edgefw schema`: the JSON schema of recipes. Loads every technique, because each brings its own options."""

from __future__ import annotations

import json

import click

from edgefw.recipe.json_schema import recipe_schema
from edgefw.registry.loading import Registry


@click.command("schema")
def command() -> None:
    """Print the JSON schema of recipes, with the options of every installed technique.

    For completion and checks while you type, write it to a file and begin a recipe with
    `# yaml-language-server: $schema=FILE`. Techniques that cannot be loaded are left out, and named on stderr.
    """
    schema, left_out = recipe_schema(Registry())
    for line in left_out:
        click.echo(f"left out: {line}", err=True)
    click.echo(json.dumps(schema, indent=2, ensure_ascii=False))
