"""Write a download as a folder: `<modality>/<split>/<name>`, samples.csv, classes.txt and prepare.json, whole or not at all.

Where an image shows several classes, labels.csv holds them all. `csv` reads the table; `paired-folder` reads the folders. It knows samples and files; it knows no layout.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgefw.contracts.dataset import SPLITS
from edgefw.data.atomic_files import write_folder
from edgefw.errors import DataError
from edgefw.preparing.download import Broken, Download, Item, Unreadable
from edgefw.registry.options import yaml_value
from edgefw.reporting.progress import Progress

TABLE, CLASSES, SUMMARY, LABEL_SETS = "samples.csv", "classes.txt", "prepare.json", "labels.csv"
_EXAMPLES = 5
_EMPTY = {
    "train": "no sample is in train, so nothing can be trained: set another seed, or a smaller val_from_train; see "
    "whether the train part of the download is there.",
    "val": "no sample is in val, on which checkpoints are chosen: set another seed or a larger val_from_train (fractions, "
    "where all splits are drawn), or train with select: {by: last} in every phase.",
    "test": "no sample is in test, on which runs are verified: set another seed or other fractions, where all splits are "
    "drawn; see whether the test part of the download is there; or verify with verify.split=val.",
}
"""Split -> what a person should know where it is empty."""
Written = list[tuple[Item, Sequence[str]]]
"""The samples that were written, in their order, each with all its labels."""


def prepare(
    download: Download, dest: Path, progress: Progress, *, limit: int | None = None, skip_broken: bool = False
) -> dict[str, Any]:
    """Write the samples of a download into the new folder `dest`, and give the summary.

    Args:
        download: what a layout found.
        dest: a folder that is not there yet; it is written beside its place and renamed at the end.
        progress: told of every sample.
        limit: at most so many samples per split, spread evenly.
        skip_broken: leave out what cannot be used instead of refusing the download.

    Raises:
        DataError: if `dest` exists, nothing is there to write, or something cannot be used; nothing is left behind.
    """
    refuse_existing(dest)
    items = _limited(download.items, limit)
    summary: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        try:
            broken = [*download.broken]
            written = _write_images(items, folder, progress, broken)
            done = [item for item, _ in written]
            _refuse(broken, done, len(items), skip_broken)
            summary.update(_summary(download, written, broken, dest))
            _write_tables(folder, download, done, summary)
            _write_label_sets(folder, written)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    write_folder(dest, fill)
    return summary


def refuse_existing(dest: Path) -> None:
    """Say no to a place that is taken.

    Raises:
        DataError: if it exists.
    """
    if dest.exists():
        raise DataError(f"{dest}: exists already and is left as it is. Give a folder that is not there yet.")


def _write_images(items: Sequence[Item], folder: Path, progress: Progress, broken: list[Broken]) -> Written:
    written: Written = []
    with progress.bar("prepare", len(items)) as bar:
        for number, item in enumerate(items, 1):
            labels = _write_item(item, folder)
            if isinstance(labels, Broken):
                broken.append(labels)
            else:
                written.append((item, labels))
            bar.update(number)
    return written


def _write_item(item: Item, folder: Path) -> Sequence[str] | Broken:
    """Write the images of one sample and give its labels; what cannot be used takes the whole sample away again."""
    try:
        labels = item.label_set() if item.label_set else [item.label] if item.label else []
    except Unreadable as error:
        return Broken(where=next(iter(item.images.values())).where, reason=str(error))
    targets = {name: folder / image_path(item, name) for name in item.images}
    for name, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            item.images[name].write(target)
        except Unreadable as error:
            for written in targets.values():
                written.unlink(missing_ok=True)
            return Broken(where=item.images[name].where, reason=str(error))
    return labels


def image_path(item: Item, modality: str) -> str:
    """Where the image of a sample is written, below the folder."""
    return f"{modality}/{item.id}{item.images[modality].ending}"


def _limited(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` items of each split, in their order, spread evenly over it."""
    if limit is None:
        return list(items)
    chosen: set[int] = set()
    for split in SPLITS:
        mine = [index for index, item in enumerate(items) if item.split == split]
        places = np.linspace(0, len(mine) - 1, min(limit, len(mine))).round().astype(int)
        chosen.update(mine[place] for place in places)
    return [item for index, item in enumerate(items) if index in chosen]


def _refuse(broken: Sequence[Broken], written: Sequence[Item], total: int, skip_broken: bool) -> None:
    if broken and (not skip_broken or not written):
        listed = "; ".join(f"{one.where}: {one.reason}" for one in broken[:_EXAMPLES])
        more = f"; and {len(broken) - _EXAMPLES} more" if len(broken) > _EXAMPLES else ""
        advice = "" if skip_broken else " Get them again, or leave them out with --skip-broken."
        raise DataError(
            f"{len(broken)} parts of the download cannot be used; nothing was written. {listed}{more}.{advice}"
        )
    if not written:
        raise DataError(f"the download holds {total} samples to write; nothing was written.")


def _summary(download: Download, items: Written, broken: Sequence[Broken], dest: Path) -> dict[str, Any]:
    counts = Counter(item.split for item, _ in items)
    empty = [note for split, note in _EMPTY.items() if not counts[split]]
    labels = Counter((label, item.split) for item, found in items for label in found)
    return {
        "dest": str(dest),
        "samples": len(items),
        "splits": {split: counts[split] for split in SPLITS},
        "modalities": {name: sum(name in item.images for item, _ in items) for name in download.modalities},
        "labels": {name: {split: labels[name, split] for split in SPLITS} for name in download.classes},
        "left_out": dict(download.left_out),
        "broken": [{"where": one.where, "reason": one.reason} for one in broken],
        "notes": [*download.notes, *empty],
        "licence": download.licence,
        "yaml": recipe_lines(download, dest),
    }


def recipe_lines(download: Download, dest: Path) -> str:
    """The sections of a recipe that read what was written, and the same data as paired folders in a comment."""
    table, classes = yaml_value(str(dest / TABLE)), yaml_value(str(dest / CLASSES))
    licence, modalities = yaml_value(download.licence), download.modalities
    pieces = ", ".join(f"{name}: {piece}" for name, piece in modalities.items())
    files = ", ".join(f"{name}: {name}" for name in modalities)
    return (
        f"data: {{name: csv, file: {table}, classes: {classes}, licence: {licence}}}\n"
        f"# or: {{name: paired-folder, root: {yaml_value(str(dest))}, files: {{{files}}}, labels: {TABLE}, "
        f"classes: {classes}}}\n"
        f"modalities: {{{pieces}}}\n"
        f"evaluate: {{labels: {classes}, template: {yaml_value(download.template)}}}\n"
    )


def _write_label_sets(folder: Path, items: Written) -> None:
    """A line per image: its path below the folder, and its labels with `;` between, as `labels eval --truth` reads them."""
    if not any(item.label_set for item, _ in items):
        return
    with (folder / LABEL_SETS).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "labels"])
        for item, labels in items:
            table.writerows([image_path(item, name), ";".join(labels)] for name in item.images)


def _write_tables(folder: Path, download: Download, items: Sequence[Item], summary: dict[str, Any]) -> None:
    names = list(download.modalities)
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "split", "label", *names])
        for item in items:
            paths = [image_path(item, name) if name in item.images else "" for name in names]
            table.writerow([item.id, item.split, item.label or "", *paths])
    (folder / CLASSES).write_text("".join(f"{name}\n" for name in download.classes), encoding="utf-8")
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
