"""A table of images and all the labels that each one shows.

    image,labels
    rgb/test/frankfurt/1.png,car;person;traffic light
    rgb/test/frankfurt/2.png,

Paths start from the table's folder. Capitals, `_` and `-` of a name do not matter. It reads; it opens no image.
"""

from __future__ import annotations

import csv
from pathlib import Path

from edgefw.data.text_files import reading
from edgefw.errors import DataError
from edgefw.labels.folders import plain_name

COLUMNS = ("image", "labels")
BETWEEN = ";"


def read_label_sets(file: Path) -> dict[Path, frozenset[str]]:
    """Image -> the plain names of its labels, in the order of the table.

    Raises:
        DataError: if the table cannot be read, lacks a column, or names an image twice or none.
    """
    found: dict[Path, frozenset[str]] = {}
    for number, row in enumerate(_rows(file), 2):
        image, labels = (row.get(column) for column in COLUMNS)
        if not image or labels is None or None in row:
            raise DataError(f"{file}:{number}: is no image and its labels. Write image,labels with {BETWEEN} between.")
        path = file.parent / image
        if path in found:
            raise DataError(f"{file}:{number}: '{image}' occurs twice.")
        found[path] = frozenset(plain_name(name) for name in labels.split(BETWEEN) if name.strip())
    if not found:
        raise DataError(f"{file}: names no image.")
    return found


def _rows(file: Path) -> list[dict[str, str]]:
    with reading(file), file.open(encoding="utf-8-sig", newline="") as opened:
        table = csv.DictReader(opened, strict=True)
        missing = [column for column in COLUMNS if column not in (table.fieldnames or ())]
        if missing:
            raise DataError(f"{file}: there is no column '{missing[0]}'. The first line is: image,labels.")
        return list(table)
