"""Text files that say something about pairs or about folders of pairs: lists of keys, and labels of keys.

    scene0000_00            a line names one pair, or a folder of pairs (everything below it)
    scene0000_00/120.jpg    an ending and a leading ./ do not matter

    scene0000_00,kitchen    a table: key and label, by comma, tab or blank; a header with the words id (or key) and
    scene0000_00/120,hall   label picks the columns. The longest key that fits wins.

It knows texts; it knows no image and no data set.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from edgefw.data.file_trees import ENDINGS
from edgefw.data.text_files import reading
from edgefw.errors import DataError

T = TypeVar("T")
_KEY_WORDS = ("id", "key", "name", "file", "path")


def read_keys(file: Path) -> list[str]:
    """The keys of a list file, one a line; empty lines and lines that begin with # are none.

    Raises:
        DataError: if the file cannot be read or holds no key.
    """
    lines = (line.strip() for line in _text(file).splitlines())
    keys = [_plain(line) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise DataError(f"{file}: holds no name.")
    return keys


def read_labels(file: Path) -> dict[str, str]:
    """Key -> label of a table; a row without a label is left out.

    Raises:
        DataError: if the file cannot be read, a row has no second cell, or a key has two labels.
    """
    rows = _rows(file)
    key_column, label_column = 0, 1
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "label" in header and any(word in header for word in _KEY_WORDS):
        key_column = header.index(next(word for word in _KEY_WORDS if word in header))
        label_column = header.index("label")
        rows = rows[1:]
    labels: dict[str, str] = {}
    for row in rows:
        if len(row) <= max(key_column, label_column):
            raise DataError(f"{file}: the row '{','.join(row)[:60]}' has no label. Write one key and one label a line.")
        key, label = _plain(row[key_column].strip()), " ".join(row[label_column].split())
        if label and labels.setdefault(key, label) != label:
            raise DataError(f"{file}: '{key}' has two labels, '{labels[key]}' and '{label}'.")
    if not labels:
        raise DataError(f"{file}: holds no label.")
    return labels


def looked_up(table: Mapping[str, T], key: str) -> T | None:
    """What the table says of a key, or of the nearest folder above it that the table names; None if of neither."""
    part = key
    while part:
        if part in table:
            return table[part]
        part = part.rpartition("/")[0]
    return None


def differences(table: Mapping[str, T], keys: Sequence[str]) -> list[str]:
    """What a table and the keys do not share, one sentence for rows without a key and one for keys without a row."""
    if not table:
        return []
    known = {part for key in keys for part in folders_and_self(key)}
    astray = [row for row in table if row not in known]
    without = [key for key in keys if looked_up(table, key) is None]
    found = []
    if astray:
        found.append(f"{len(astray)} of its {len(table)} rows name no sample, the first one '{astray[0]}'")
    if without:
        found.append(
            f"names no label for {len(without)} of {len(keys)} samples, which stay unlabelled, the first one '{without[0]}'"
        )
    return found


def folders_and_self(key: str) -> list[str]:
    """The folders that a key lies in, from the outermost, and the key."""
    parts = key.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _rows(file: Path) -> list[list[str]]:
    text = _text(file)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not any(mark in first for mark in ",\t"):
        return [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    delimiter = "\t" if "\t" in first else ","
    with reading(file):
        return [row for row in csv.reader(text.splitlines(), delimiter=delimiter, strict=True) if any(row)]


def _plain(key: str) -> str:
    """A key as pairs have it: without ./ and without the ending of an image file."""
    key = key.removeprefix("./").strip("/")
    ending = PurePosixPath(key).suffix.lower()
    return key[: -len(ending)] if ending in ENDINGS else key


def _text(file: Path) -> str:
    with reading(file):
        return file.read_text(encoding="utf-8-sig")
