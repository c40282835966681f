"""`edgefw bench BUNDLE`: what the artefacts of a bundle cost on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgefw.cli.finite import FiniteRange


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--seconds", type=FiniteRange(min=0.1), default=3.0, show_default=True, help="Timing per artefact.")
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Images per call (throughput).")
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads; default: as the recipe said.")
@click.option("--no-memory", is_flag=True, help="Leave out memory, which starts a process per artefact.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def command(bundle: Path, seconds: float, batch: int, threads: int | None, no_memory: bool, as_json: bool) -> None:
    """Measure latency (batch 1, artefacts turn by turn), throughput and memory of BUNDLE.

    BUNDLE is a bundle folder, an .edgefw file, or a run folder. An artefact whose runtime is not installed, or refuses its
    file, is named with the reason, and the others are measured.
    """
    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.bundle_bench import bench_bundle

    with open_bundle(bundle) as opened:
        rows = bench_bundle(opened, batch=batch, threads=threads, seconds=seconds, memory=not no_memory)
    if as_json:
        document = {"bundle": str(bundle), "batch": batch, "threads": threads, "artefacts": rows}
        click.echo(json.dumps(document, indent=2))
        return
    wide = max(32, *(len(row["name"]) + 2 for row in rows))
    click.echo(f"{'artefact':<{wide}}{'p50 ms':>9}{'p95 ms':>9}{'images/s':>10}{'MB':>8}{'memory MiB':>12}")
    for row in rows:
        if row["why"] is not None:
            click.echo(f"{row['name']:<{wide}}not measured: {row['why']}")
            continue
        memory = "-" if row["memory_mib"] is None else f"{row['memory_mib']:.1f}"
        click.echo(
            f"{row['name']:<{wide}}{row['latency_ms_p50']:>9.2f}{row['latency_ms_p95']:>9.2f}"
            f"{row['images_per_second']:>10.1f}{row['bytes'] / 1e6:>8.2f}{memory:>12}"
        )
