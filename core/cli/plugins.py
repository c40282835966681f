"""`edgefw plugins show`: one technique, with its options as a block to paste. Imports that one, and what it fits."""

from __future__ import annotations

import json
from typing import Any

import click

from edgefw.registry.cards import Card, card


@click.group("plugins")
def command() -> None:
    """Show one technique: paper, needs, options as YAML."""


@command.command("show")
@click.argument("name", metavar="[KIND/]NAME")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def show(name: str, as_json: bool) -> None:
    """Show one technique: where it is from, its paper, what it needs, its options as YAML to paste.

    A qualified name (acme:cosine) picks the distribution when two offer the same name.
    """
    found = card(name)
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else _text(found))


def _text(found: Card) -> str:
    technique, ref = found.technique, found.ref
    rows = [
        ("from", ref.source),
        ("module", f"{ref.module} ({ref.file})"),
        ("plugin API", str(technique.api)),
        ("paper", technique.paper or "none"),
        ("licence", technique.licence or "brings no weights or data"),
        ("provides", ", ".join(sorted(technique.provides)) or "nothing another piece needs"),
        ("needs", ", ".join(sorted(technique.needs)) or "nothing of another piece"),
        ("packages", "; ".join(map(_package, found.packages)) or "no optional ones"),
        *(
            (f"fits {kind}s" if kind != "loss" else "fits losses", ", ".join(names))
            for kind, names in found.fits.items()
        ),
    ]
    if any(not package["version"] for package in found.packages) and technique.install:
        rows.append(("install", technique.install))
    width = max(len(label) for label, _ in rows)
    lines = [f"{label.ljust(width)}  {value}" for label, value in rows]
    return "\n".join([f"{ref.kind} {ref.name}: {found.summary}", "", *lines, "", found.yaml])


def _package(package: dict[str, Any]) -> str:
    return f"{package['name']} {package['version']}" if package["version"] else f"{package['name']} is missing"
