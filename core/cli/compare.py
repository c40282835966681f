"""`edgefw compare RUN RUN ...`: runs side by side, as tables, as JSON, or as a page."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgefw.reporting.compare import Comparison


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the comparison to this HTML file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")
def command(runs: tuple[Path, ...], html: Path | None, as_json: bool) -> None:
    """Compare two or more run folders: what differs in their recipes, and what came of it."""
    from edgefw.reporting.compare import compare, table_texts, write_comparison
    from edgefw.reporting.tables import print_tables, rows_table, side_by_side_table

    comparison = compare(runs)
    if html is not None:
        click.echo(f"Comparison: {write_comparison(comparison, html)}", err=True)
    if as_json:
        click.echo(json.dumps(_document(comparison), indent=2))
        return
    if comparison.differences:
        print_tables([side_by_side_table("what differs in the recipes", comparison.names, comparison.differences)])
    else:
        click.echo("The resolved recipes are equal.")
    headings, rows = table_texts(comparison)
    tables = [rows_table("accuracy and cost", headings, rows)] if rows else []
    print_tables([*tables, side_by_side_table("verdict and time", comparison.names, comparison.results)])


def _document(comparison: Comparison) -> dict[str, Any]:
    return {
        "runs": list(comparison.values),
        "differences": [{"key": key, "values": list(values)} for key, values in comparison.differences],
        "table": [asdict(row) for row in comparison.table],
    }
