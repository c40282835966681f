"""`edgefw prepare LAYOUT SOURCE DEST`: a known download becomes a folder that a recipe reads. Loads no plugin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgefw.preparing.layouts import LAYOUTS, layout_options, load_layout
from edgefw.preparing.prepare import prepare, refuse_existing
from edgefw.reporting.progress import make_progress


@click.command("prepare")
@click.argument("layout", type=click.Choice(sorted(LAYOUTS)))
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
@click.argument("options", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N samples per split, spread evenly.")
@click.option("--skip-broken", is_flag=True, help="Leave out what cannot be used, instead of refusing the download.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(
    layout: str, source: Path, dest: Path, options: tuple[str, ...], limit: int | None, skip_broken: bool, as_json: bool
) -> None:
    """Check the download SOURCE and write it as the new folder DEST, with samples.csv.

    Options of the layouts are KEY=VALUE: see docs/data.md.
    """
    chosen = layout_options(layout, options)
    source, dest = source.expanduser().absolute(), dest.expanduser().absolute()
    refuse_existing(dest)
    download = load_layout(layout).read(source, chosen)
    summary = prepare(download, dest, make_progress(), limit=limit, skip_broken=skip_broken)
    if as_json:
        click.echo(json.dumps({"layout": layout, "source": str(source)} | summary, indent=2, ensure_ascii=False))
    else:
        click.echo(_text(summary))


def _text(summary: dict[str, Any]) -> str:
    """What a person reads: counts, what was left out, and the lines to paste."""
    splits = ", ".join(f"{count:,} {split}" for split, count in summary["splits"].items())
    lines = [f"{summary['dest']}: {summary['samples']:,} samples ({splits})."]
    lines += [f"  {name:<28}{count:>9,} images" for name, count in summary["modalities"].items()]
    lines += [_label_line(name, counts) for name, counts in summary["labels"].items()]
    lines += [f"left out: {count:,} samples: {reason}" for reason, count in summary["left_out"].items()]
    lines += [f"broken: {one['where']}: {one['reason']}" for one in summary["broken"]]
    lines += [f"note: {note}" for note in summary["notes"]]
    return "\n".join([*lines, "", "Lines for a recipe:", "", summary["yaml"].rstrip()])


def _label_line(name: str, counts: dict[str, int]) -> str:
    return f"  {name:<28}{sum(counts.values()):>9,}   " + "  ".join(f"{split} {n:,}" for split, n in counts.items())
