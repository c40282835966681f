"""`edgefw compare RUN RUN ...`: runs side by side, as tables, as JSON, or as a page."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the comparison to this HTML file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")
def command(runs: tuple[Path, ...], html: Path | None, as_json: bool) -> None:
    """Compare two or more run folders: what differs in their recipes, and what came of it."""
    from edgefw.reporting.compare import compare, write_comparison
    from edgefw.reporting.tables import print_tables, side_by_side_table

    comparison = compare(runs)
    if html is not None:
        click.echo(f"Comparison: {write_comparison(comparison, html)}", err=True)
    if as_json:
        differences = [{"key": key, "values": list(values)} for key, values in comparison.differences]
        click.echo(json.dumps({"runs": list(comparison.values), "differences": differences}, indent=2))
        return
    tables = [side_by_side_table("results", comparison.names, comparison.results)]
    if comparison.differences:
        tables.append(side_by_side_table("what differs in the recipes", comparison.names, comparison.differences))
    print_tables(tables)
    if not comparison.differences:
        click.echo("The resolved recipes are equal.")
