"""`edgefw init`: a first recipe for the user's own data, by questions or by options. Loads no plugin."""

from __future__ import annotations

import csv
import os
import re
import sys
from pathlib import Path

import click

from edgefw.errors import RecipeError
from edgefw.recipe.detect import Found, detect
from edgefw.recipe.read import read_recipe
from edgefw.recipe.starter import TEACHER, Answers, starter_recipe

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@click.command("init")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the images, shards or table.")
@click.option("--name", help="Name of the recipe; NAME.yaml is written. Default: the folder's name.")
@click.option("--labels", help="Names of what may be in the images: a text file, or 'cat,dog'.")
@click.option("--teacher", help=f"open_clip MODEL:WEIGHTS, or local-dir:FOLDER. Default: {TEACHER}.")
def command(data: Path | None, name: str | None, labels: str | None, teacher: str | None) -> None:
    """Look at your data and write a recipe for it: NAME.yaml in this folder.

    Without --data, asks. Finds photographs in folders, a CSV table, WebDataset shards, and rgb/ beside depth/.
    """
    asking = data is None
    if asking and not sys.stdin.isatty():
        raise click.UsageError("give --data DIR; there is nobody to ask.")
    data = data or click.prompt("Folder with your images, shards or table", type=click.Path(path_type=Path))
    data = Path(os.path.expanduser(data))
    found = detect(data)
    click.echo(_said(found), err=True)
    if asking:
        name = name or click.prompt("Name of the recipe", default=_default_name(data))
        if not labels and not found.labelled:
            labels = click.prompt("What may be in the images (cat,dog or a file; empty: not said)", default="") or None
        teacher = teacher or click.prompt("Teacher", default=TEACHER)
    file = _target(name or _default_name(data))
    table = Path(f"{file.stem}.csv")
    text = starter_recipe(
        found,
        Answers(
            name=file.stem,
            root=_written(data),
            teacher=teacher or TEACHER,
            labels=_labels(labels),
            table=table.name,
        ),
    )
    _write(file, text, table, found)
    click.echo(f"{file} written. Look at it, then: edgefw check {file} · edgefw run {file}")


def _said(found: Found) -> str:
    sensors = " and ".join(found.modalities)
    labels = "with labels" if found.labelled else "without labels"
    return f"Found: {found.layout}, {sensors}, about {found.train:,} training samples, {labels}."


def _default_name(data: Path) -> str:
    plain = re.sub(r"[^a-z0-9_-]+", "-", data.absolute().name.lower()).strip("-_")
    return plain or "recipe"


def _target(name: str) -> Path:
    """The file to write.

    Raises:
        RecipeError: if the name is no file name, or the file is there already.
    """
    name = name.removesuffix(".yaml")
    if not _NAME.fullmatch(name):
        raise RecipeError(f"--name: '{name}' must be lower-case letters, digits, hyphens. It becomes NAME.yaml.")
    file = Path(f"{name}.yaml")
    for path in (file, Path(f"{name}.csv")):
        if path.exists():
            raise RecipeError(f"{path.absolute()} exists already and is left as it is. Choose another --name.")
    return file


def _written(data: Path) -> str:
    """How the recipe names the folder: relative where it lies below, so that both can be moved together."""
    absolute = data.absolute()
    return os.path.relpath(absolute) if absolute.is_relative_to(Path.cwd()) else str(absolute)


def _labels(text: str | None) -> str | list[str] | None:
    if text is None or Path(os.path.expanduser(text)).is_file():
        return text
    if text.endswith(".txt"):
        raise RecipeError(f"--labels: {text}: no such file. Give a text file with one name a line, or 'cat,dog'.")
    return [label.strip() for label in text.split(",") if label.strip()] or None


def _write(file: Path, text: str, table: Path, found: Found) -> None:
    """Write the recipe, and the table of paired files; the recipe is read back, so that it is one."""
    if found.table:
        with table.open("x", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows(found.table)
        click.echo(f"{table} written: {len(found.table) - 1} samples.", err=True)
    with file.open("x", encoding="utf-8") as stream:
        stream.write(text)
    read_recipe(str(file))
