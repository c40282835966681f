"""`edgefw bundle show|extract|diff|pack`: what a bundle holds, and its two shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.group()
def command() -> None:
    """Show, unpack, pack and compare bundles; every hash is checked first."""


@command.command("show")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest and all hashes as one JSON document.")
def show(bundle: Path, as_json: bool) -> None:
    """Print what BUNDLE holds: artefacts, sensors, labels, hashes, licences."""
    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.bundle_text import describe, document

    with open_bundle(bundle) as opened:
        if as_json:
            click.echo(json.dumps(document(opened), indent=2, ensure_ascii=False))
        else:
            click.echo("\n".join(describe(opened)))


@command.command("extract")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def extract(bundle: Path, folder: Path) -> None:
    """Write BUNDLE as a plain FOLDER, which must not exist or be empty; it is there whole or not at all."""
    import shutil

    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.hashes import SUMS
    from edgefw.runtime.whole_folders import write_whole_folder

    def copy(draft: Path) -> None:
        for name in [*opened.sums, SUMS]:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(opened.folder / name, draft / name)

    with open_bundle(bundle) as opened:
        write_whole_folder(folder, copy)
    click.echo(f"Extracted {len(opened.sums) + 1} files to {folder}", err=True)


@command.command("pack")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
def pack_command(bundle: Path, file: Path) -> None:
    """Write BUNDLE as one FILE, by custom NAME.edgefw; equal bundles give equal bytes."""
    from edgefw.runtime.bundle import open_bundle, pack

    with open_bundle(bundle) as opened:
        pack(opened.folder, file)
    click.echo(f"{file}: {file.stat().st_size} bytes", err=True)


@command.command("diff")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
def diff(first: Path, second: Path, as_json: bool) -> int:
    """Say in what FIRST and SECOND differ; exit code 1 if they do."""
    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.bundle_text import differences

    with open_bundle(first) as one, open_bundle(second) as other:
        rows = differences(one, other)
    if as_json:
        click.echo(json.dumps({"equal": not rows, "differences": rows}, indent=2, ensure_ascii=False))
    else:
        for row in rows:
            click.echo(f"{row['key']}: {_short(row['first'])} -> {_short(row['second'])}")
        click.echo("equal" if not rows else f"{len(rows)} difference{'s' * (len(rows) > 1)}", err=True)
    return 1 if rows else 0


def _short(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
