"""`edgefw new-plugin`: a package with one technique that installs, lists and passes the kit as it is."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("new-plugin")
@click.argument("kind")
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("."), help="Folder to write into.", show_default=True
)
def command(kind: str, name: str, out: Path) -> None:
    """Write a plugin package that works as it is.

    KIND is teacher, student, projector, loss, scheme, sampler, view, quantizer, modality, dataset or backend. NAME is
    lower-case words joined by hyphens; the package is written to OUT/edgefw-NAME.
    """
    from edgefw.registry.kinds import kind_of
    from edgefw.scaffold.render import new_plugin

    chosen = kind_of(kind)
    folder = new_plugin(chosen, name, out)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        click.echo(file)
    click.echo(f"\nNext:\n  pip install -e {folder}\n  edgefw plugins show {chosen}/{name}\n  pytest {folder}")
