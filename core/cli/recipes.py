"""`edgefw recipes`: the recipes that come with edgefw. Reads their YAML and loads no plugin."""

from __future__ import annotations

import json
from typing import Any

import click

from edgefw.recipe.described import ShippedRecipe, shipped_recipes


@click.command("recipes")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
def command(as_json: bool) -> None:
    """List the shipped recipes: name, what it does, what it needs."""
    recipes = shipped_recipes()
    if as_json:
        click.echo(json.dumps([row(recipe) for recipe in recipes], indent=2, ensure_ascii=False))
        return
    for recipe in recipes:
        click.echo(f"{recipe.name}\n  {recipe.summary}")
        if recipe.needs:
            click.echo(f"  Needs: {recipe.needs}")
        if recipe.mandatory:
            click.echo(f"  Give:  {' '.join(f'{key}=...' for key in recipe.mandatory)}")
    click.echo(f"{len(recipes)} recipes. Plan: edgefw check NAME · start: edgefw run NAME · your own data: edgefw init")


def row(recipe: ShippedRecipe) -> dict[str, Any]:
    """One element of the JSON list."""
    return {
        "name": recipe.name,
        "summary": recipe.summary,
        "needs": recipe.needs,
        "mandatory": list(recipe.mandatory),
        "file": str(recipe.file),
    }
