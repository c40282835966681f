"""Tables of the Hugging Face `datasets` library: loaded, looked at and read cell by cell, never as a whole.

It knows the library and its kinds of columns; it knows no recipe and no split of ours. `datasets` is imported on use.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgefw.contracts.dataset import Sample
from edgefw.errors import DataError

_BATCH = 256


@dataclass(frozen=True)
class RowReference:
    """One cell of a table on disk."""

    table: Any
    row: int
    column: str
    where: str
    state: str
    """Fingerprint of the table: it changes when the data does."""
    base: Path = Path()
    """Folder that paths in cells start from."""

    def read(self) -> bytes:
        """The bytes of the image; an array as an `.npy` file."""
        value = self.table[self.row][self.column]
        if isinstance(value, Mapping):
            value = value["bytes"] if value.get("bytes") is not None else value.get("path")
        if isinstance(value, str):
            return self._file(self.base / value)
        if isinstance(value, (bytes, bytearray)):
            return bytes(value)
        if isinstance(value, (list, np.ndarray)):
            return _npy(np.asarray(value, dtype=getattr(self.table.features[self.column], "dtype", None)))
        raise DataError(f"{self.where}: holds {type(value).__name__}, which is no image.")

    def _file(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.where}: {path} cannot be read ({error.strerror or error}).") from error


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One split of ours: rows of a table, and what is known about each of its N rows without reading images.

    Attributes:
        name: the split's name in the data set.
        tables: modality -> (table of that column alone, column).
        present: modality -> (N,) bool.
        labels: N labels, None without one.
        ids: N ids, or None for row numbers.
        captions: table of the captions, or None.
    """

    name: str
    place: Path | str
    state: str
    tables: Mapping[str, tuple[Any, str]]
    present: Mapping[str, np.ndarray]
    labels: Sequence[str | None]
    ids: Sequence[str] | None
    captions: tuple[Any, str] | None

    def id(self, row: int) -> str:
        """The row's id."""
        return self.ids[row] if self.ids is not None else f"{self.name}/{row:08d}"

    def sample(self, row: int) -> Sample:
        """The sample of a row; its caption is read now, its images later."""
        found = {name: pair for name, pair in self.tables.items() if self.present[name][row]}
        images = {name: self._reference(row, *pair) for name, pair in found.items()}
        caption = self.captions[0][row][self.captions[1]] if self.captions else None
        return Sample(id=self.id(row), images=images, label=self.labels[row], caption=str(caption) if caption else None)

    def where(self, row: int) -> str:
        """What a message calls the row."""
        return f"{self.place}:{self.name}[{row}]"

    def _reference(self, row: int, table: Any, column: str) -> RowReference:
        base = self.place if isinstance(self.place, Path) else Path()
        return RowReference(table, row, column, f"{self.where(row)}.{column}", self.state, base)


def load(place: Path | str, subset: str | None, revision: str | None, cache: Path) -> dict[str, Any]:
    """Split name -> table on disk.

    Raises:
        DataError: if the library cannot load it.
    """
    import datasets

    with _quiet(datasets):
        try:
            if isinstance(place, Path) and any(
                (place / file).is_file() for file in ("dataset_dict.json", "state.json")
            ):
                found = datasets.load_from_disk(str(place))
            elif isinstance(place, Path):
                found = datasets.load_dataset(str(place), subset, cache_dir=str(cache / "huggingface"))
            else:
                found = datasets.load_dataset(place, subset, revision=revision)
        except Exception as error:  # the library raises whatever its readers and the network raise
            text = " ".join(str(error).split())[:300] or type(error).__name__
            raise DataError(f"{place}: the datasets library cannot load it ({text}).") from error
    return dict(found) if isinstance(found, dict) else {"train": found}


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """No bars of the library on the way; they are put back as they were."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def undecoded(table: Any, column: str) -> Any:
    """The table with this column alone, images as the bytes they are stored in."""
    import datasets

    alone = table.select_columns([column])
    is_image = isinstance(alone.features[column], datasets.Image)
    return alone.cast_column(column, datasets.Image(decode=False)) if is_image else alone


def present(table: Any, column: str) -> np.ndarray:
    """(N,) bool: which rows have an image; looks at the table's null marks, some rows at a time."""
    parts = [np.zeros(0, dtype=bool)]
    for batch in table.with_format("arrow").iter(_BATCH):
        cells = batch.column(column).combine_chunks()
        known = cells.is_valid().to_numpy(zero_copy_only=False)
        if hasattr(cells.type, "get_field_index") and cells.type.num_fields:
            fields = [cells.field(name) for name in ("bytes", "path") if cells.type.get_field_index(name) >= 0]
            some = [field.is_valid().to_numpy(zero_copy_only=False) for field in fields]
            known = known & np.any(some, axis=0) if some else known
        parts.append(known)
    return np.concatenate(parts)


def _npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()
