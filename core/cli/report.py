"""`edgefw report RUN`: writes report.html of a run folder again, from what lies in it."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
def command(run: Path, as_json: bool) -> None:
    """Write the HTML report of the run folder RUN, whole or unfinished."""
    from edgefw.reporting.html import write_report
    from edgefw.reporting.run_data import read_run
    from edgefw.reporting.status import status_of
    from edgefw.reporting.tables import print_summary

    path = write_report(run)
    data = read_run(run)
    if as_json:
        click.echo(json.dumps({"report": str(path), "bytes": path.stat().st_size, "status": status_of(data)}))
        return
    if data.stage("verify"):
        print_summary(data.stage("verify"))
    click.echo(f"Report: {path}")
