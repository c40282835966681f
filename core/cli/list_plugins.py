"""`edgefw list-plugins`: what is installed, from where. Imports no plugin unless `--check` asks for it."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from edgefw.registry.discovery import PluginRef, canonical, installed, kind_word, summary

if TYPE_CHECKING:
    from edgefw.registry.kinds import Kind

HEADINGS = ("KIND", "NAME", "FROM", "SUMMARY")


@click.command("list-plugins")
@click.option("--kind", metavar="KIND", help="Only this kind: teacher, loss, backend, ..., or observer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
@click.option("--check", is_flag=True, help="Import and register each; exit 1 if one is broken.")
def command(kind: str | None, as_json: bool, check: bool) -> int:
    """List the installed techniques, from every distribution.

    Reads metadata only: nothing is imported unless --check is given. EDGEFW_PLUGINS limits what is seen.
    """
    refs = _chosen(kind)
    rows = [row(ref) for ref in refs]
    if check:
        from edgefw.registry.checking import check_refs

        for entry, verdict in zip(rows, check_refs(refs), strict=True):
            entry["status"], entry["reason"] = verdict.status, verdict.reason
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        _print(rows, refs, check)
    return 1 if check and any(entry["status"] in ("broken", "missing") for entry in rows) else 0


def row(ref: PluginRef) -> dict[str, Any]:
    """One element of the JSON list."""
    return {
        "kind": kind_word(ref.kind),
        "name": ref.name,
        "distribution": ref.distribution,
        "version": ref.version,
        "module": ref.module,
        "summary": summary(ref),
        "status": ref.status,
    }


def _chosen(word: str | None) -> list[PluginRef]:
    """The entry points of a kind; clashes are marked before the choice."""
    if word is None:
        return installed()
    if word in ("observer", "observers", "hooks"):
        return [ref for ref in installed() if ref.kind is None]
    return installed(_kind(word))


def _kind(word: str) -> Kind:
    from edgefw.registry.kinds import kind_of

    return kind_of(word)


def _print(rows: list[dict[str, Any]], refs: list[PluginRef], check: bool) -> None:
    cells = [(entry["kind"], entry["name"], ref.source, _note(entry, ref, refs)) for entry, ref in zip(rows, refs)]
    table = [HEADINGS, *cells]
    widths = [max(len(line[column]) for line in table) for column in range(3)]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table:
        text = "  ".join([*(cell.ljust(width) for cell, width in zip(line[:3], widths)), line[3]]).rstrip()
        click.echo(text if limit is None or len(text) <= limit or check else f"{text[: limit - 1]}…")
    click.echo(_footer(rows, refs, check))


def _note(entry: dict[str, Any], ref: PluginRef, refs: list[PluginRef]) -> str:
    """The summary, or what is wrong with this row."""
    if entry["status"] == "missing":
        return f"! module {ref.module} not found"
    if entry["status"] == "clash":
        twins = [other.qualified for other in refs if other.kind is ref.kind and _same(other, ref)]
        return f"! clash: use {' or '.join(twins)}"
    if entry["status"] in ("broken", "unavailable"):
        return f"! {entry['status']}: {entry['reason']}"
    return f"{entry['status']}: {entry['summary']}" if "reason" in entry else str(entry["summary"])


def _same(one: PluginRef, other: PluginRef) -> bool:
    return canonical(one.name) == canonical(other.name)


def _footer(rows: list[dict[str, Any]], refs: list[PluginRef], check: bool) -> str:
    sources = len({ref.distribution for ref in refs})
    counted = f"{len(rows)} plugin{'s' * (len(rows) != 1)} from {sources} distribution{'s' * (sources != 1)}."
    if check:
        broken = sum(entry["status"] in ("broken", "missing") for entry in rows)
        return f"{counted} {broken} broken."
    return f"{counted} Details: edgefw plugins show [KIND/]NAME · load-test them all: edgefw list-plugins --check"
