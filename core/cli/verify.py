"""`edgefw verify BUNDLE|RUN`: the gate. Exit code 1 when a budget is not met."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

_COLUMNS = ("operator", "error", "own", "cosine")


@click.command()
@click.argument("target", type=click.Path(path_type=Path), metavar="BUNDLE|RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="New run folder, with KEY=VALUE.")
@click.option(
    "--data", multiple=True, metavar="[MODALITY=]DIR", help="Folder of held-out images, DIR/<label>/image.png."
)
@click.option("--pack", type=click.Path(path_type=Path), help="A label pack to use instead of the bundle's own.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Images in memory at a time.")
@click.option("--without", multiple=True, metavar="ARTEFACT", help="Leave an artefact of a bundle out of the verdict.")
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads; default: as the recipe said.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def command(
    target: Path,
    overrides: Sequence[str],
    out: Path | None,
    data: Sequence[str],
    pack: Path | None,
    batch: int,
    without: Sequence[str],
    threads: int | None,
    as_json: bool,
) -> None:
    """Hold compiled files against their budget, on real samples.

    A RUN folder is verified again on its recipe's held-out split, with teacher and student (needs edgefw[train]). With
    KEY=VALUE, of the recipe's sections data, evaluate, verify and compute, a copy of it in --out is verified on other
    samples; the run stays as it is. A BUNDLE, or a run with --data, is verified on folders of images: artefacts against
    the bundle's float file, with the base installation. An artefact whose runtime is not installed is named, the others
    are judged, and the exit code is 1: not everything was judged.
    """

    if (target / "run.json").is_file() and not data:
        if pack is not None or threads is not None or without:
            raise click.UsageError("--pack, --threads and --without need --data; a run is verified as its recipe says.")
        if (out is None) != (not overrides):
            raise click.UsageError("a run is verified on other samples with KEY=VALUE and --out, both of them.")
        result = _run(target, overrides, out)
    elif overrides or out is not None:
        raise click.UsageError("KEY=VALUE and --out are for a RUN without --data: a bundle holds no recipe.")
    else:
        result = _bundle(target, data, pack, batch, threads, without)
    click.echo(json.dumps(result, indent=2, ensure_ascii=False)) if as_json else _print(result)
    _judge(result)


def _judge(result: Mapping[str, Any]) -> None:
    from edgefw.errors import GateFailed
    from edgefw.evaluation.budget import failures, missing

    failed, unjudged = failures(result["budget"]), missing(result["unjudged"])
    parts = [f"The budget was not met:\n{failed}"] if failed else []
    parts += [f"Not everything was judged:\n{unjudged}"] if unjudged else []
    if parts:
        raise GateFailed("\n".join(parts))


def _run(target: Path, overrides: Sequence[str], out: Path | None) -> dict[str, Any]:
    from edgefw.verifying.elsewhere import verify_elsewhere
    from edgefw.verifying.reverify import verify_run

    result = verify_run(target) if out is None else verify_elsewhere(target, overrides, out)
    ok = all(row["ok"] for row in result["budget"]) and not result["unjudged"]
    return {"target": str(out or target), "kind": "run", "ok": ok, **result}


def _bundle(
    target: Path, data: Sequence[str], pack: Path | None, batch: int, threads: int | None, without: Sequence[str]
) -> dict[str, Any]:
    from edgefw.errors import DataError
    from edgefw.labels.folders import parse_data
    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.label_pack import read_pack
    from edgefw.verifying.bundle_check import verify_bundle

    with open_bundle(target) as opened:
        if not data:
            raise DataError(
                f"{target}: verifying a bundle needs images. Give --data DIR with folders named after labels "
                f"(first sensor: {opened.modalities[0]}), or --data MODALITY=DIR."
            )
        labels = None
        if pack is not None:
            labels = opened.fitting(read_pack(pack), str(pack))
        elif opened.manifest.labels is not None:
            labels = opened.label_pack()
        folders = parse_data(data, opened.modalities, labels.names if labels else ())
        result = verify_bundle(opened, folders, labels, batch=batch, threads=threads, without=without)
    return {"target": str(target), "kind": "bundle", **result}


def _print(result: Mapping[str, Any]) -> None:
    from edgefw.cli.artefact_numbers import numbers_of
    from edgefw.evaluation.budget import interval_text

    evaluation = [row for row in result["evaluation"] if row["metric"] == "top1"]
    wide = max([32, *(len(row["name"]) for row in (*result["artefacts"], *result["unjudged"]))])
    for row in evaluation:
        click.echo(f"{row['model']:<{wide}} {row['modality']:<10} top-1 {100 * row['value']:6.1f} %  (n = {row['n']})")
    for artefact in result["artefacts"]:
        click.echo(f"{artefact['name']:<{wide}} {numbers_of(artefact)}")
    for row in (row for row in result.get("folded") or [] if "why" not in row):
        click.echo(
            f"{row['name']:<{wide}} cosine {row['cosine_mean']:.4f} (min {row['cosine_min']:.4f}), "
            f"relative error {row['relative_error_max']:.2g} at most, to {row['source']}"
        )
    for row in result["unjudged"]:
        click.echo(f"{row['name']:<{wide}} not judged: {row['why']}")
    for row in result["budget"]:
        mark = "ok  " if row["ok"] else "FAIL"
        beside = f"; {text}" if (text := interval_text(row)) else ""
        said = row.get("why") or f"{row['check']} {row['value']:.4g} (budget {row['limit']:g}{beside})"
        click.echo(f"{mark} {row['artefact']}: {said}")
    for row in result.get("blame") or []:
        click.echo(f"layers of {row['artefact']}: {_printable(_blamed(row))}")
        _print_layers(row)
    click.echo(f"best on this machine: {_best(result)}")
    for text in (*result["warnings"], *_of_artefacts(result["artefacts"])):
        click.echo(f"warning: {text}", err=True)
    unreadable = result.get("unreadable") or {"count": 0}
    if unreadable["count"]:
        first = unreadable["files"][0]
        click.echo(
            f"{unreadable['count']} files cannot be read; the first: {first['path']}: {first['error']}", err=True
        )


def _best(result: Mapping[str, Any]) -> str:
    """The file to take, and whether it keeps the budget: one that does is chosen where there is one."""
    name = result["best"]
    if not name:
        return "none, as no artefact could be judged"
    failed = any(row["artefact"] == name and not row["ok"] for row in result["budget"])
    return f"none keeps the whole budget; {name} comes nearest" if failed else str(name)


def _of_artefacts(artefacts: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{artefact['name']}: {text}" for artefact in artefacts for text in artefact["warnings"]]


def _print_layers(row: Mapping[str, Any]) -> None:
    """The layers with the largest errors of their own, of an artefact that was looked into."""
    from edgefw.reporting.part_layers import layer_rows
    from edgefw.reporting.tables import print_tables, rows_table

    worst = layer_rows(row)
    if worst:
        named = [f"{one['layer']} *" if one["blamed"] else one["layer"] for one in worst]
        cells = [[_printable(name), *(_printable(one[key]) for key in _COLUMNS)] for name, one in zip(named, worst)]
        print_tables([rows_table("", ("layer", *_COLUMNS), cells)])


def _printable(text: str) -> str:
    """What a file calls its layers, without what a terminal would obey."""
    return "".join(own if own.isprintable() else "\N{REPLACEMENT CHARACTER}" for own in text)


def _blamed(row: Mapping[str, Any]) -> str:
    """What looking into an artefact that failed has shown, in words."""
    if row.get("absent"):
        return str(row["absent"])
    if first := row["first"]:
        between = first.get("inserted") or ()
        beside = f"; before it stands what the network has not: {', '.join(between)}" if between else ""
        return f"{first['layer']} ({first['operator']}) departs first, relative error {first['error']:.3g}{beside}"
    return f"no layer departs by more than {row['limit']:g}; the error builds up, or lies outside the graph"
