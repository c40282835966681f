"""A CSV file: one sample a row, with label, caption and one path per modality.

    id,split,label,caption,rgb,depth
    kitchen-1,train,mug,a mug on a table,rgb/1.jpg,depth/1.png

Paths start from `root`, which is the CSV's own folder unless set; a path that leads out of it is skipped. An empty
cell is a missing image, label or caption. Without an id column the first path is the id; without a split column the
split is a hash of the id (`fractions`, `seed`), stable when rows are added. Rows that cannot be used (wrong number of
cells, unknown split, label that is no class) are listed as skipped with their line. The file is UTF-8. No image is
opened here.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

from pydantic import Field

import edgefw
from edgefw.contracts.dataset import SPLITS, FileReference, Listing, Sample, Skip
from edgefw.data.class_names import UnknownLabel, class_of, found_classes, read_classes
from edgefw.data.splits import Fractions, drawn_split
from edgefw.data.text_files import reading
from edgefw.errors import DataError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgefw.registry.technique import Register

_WORDS = ("id", "split", "label", "caption")


class CsvConfig(edgefw.TechniqueConfig):
    """Which file, which columns, and how rows without a split are split."""

    file: str = Field(description="the CSV file, UTF-8, with a header line")
    root: str | None = Field(default=None, description="folder that the paths start from; null: the CSV's folder")
    columns: dict[str, str] = Field(
        default={}, description="column of id, split, label, caption or a modality, where it has another name"
    )
    delimiter: str = Field(default=",", min_length=1, max_length=1, description="separates the cells")
    classes: str | tuple[str, ...] | None = Field(
        default=None, description="class names: a file or a list; null: the labels that occur"
    )
    fractions: Fractions = Field(default=Fractions(), description="shares of the splits, without a split column")
    seed: int = Field(default=0, ge=0, description="changes what is drawn")
    licence: str = Field(default="unknown", description="licence of the data, for the provenance")


class Row(NamedTuple):
    """One usable line: paths in the order of the modalities, "" where there is none."""

    id: str
    label: str | None
    caption: str | None
    paths: tuple[str, ...]


class CsvSamples(Sequence[Sample]):
    """Samples of rows, made when they are asked for."""

    def __init__(self, root: Path, modalities: tuple[str, ...], rows: list[Row]) -> None:
        self._root, self._modalities, self._rows = root, modalities, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> CsvSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | CsvSamples:
        if isinstance(index, slice):
            return CsvSamples(self._root, self._modalities, self._rows[index])
        row = self._rows[index]
        paths = {name: path for name, path in zip(self._modalities, row.paths) if path}
        images = {name: FileReference(self._root / path) for name, path in paths.items()}
        return Sample(id=row.id, images=images, label=row.label, caption=row.caption)


class CsvDataset:
    """Rows of one CSV file, see `edgefw.contracts.dataset.Dataset`."""

    def __init__(
        self, config: CsvConfig, file: Path, root: Path, modalities: tuple[str, ...], names: tuple[str, ...]
    ) -> None:
        self.config, self.file, self.root, self.modalities = config, file, root, modalities
        self.licence = config.licence
        self._names = names

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The configured classes, or the labels that occur."""
        rows = (row for rows in self._read[0].values() for row in rows)
        return self._names or found_classes(row.label for row in rows if row.label is not None)

    def listing(self, split: str) -> Listing:
        """The rows of a split in the file's order. Rows of no split are listed with every split."""
        rows, skips = self._read
        if split not in SPLITS:
            return Listing(samples=())
        samples = CsvSamples(self.root, self.modalities, rows[split])
        return Listing(samples=samples, skipped=(*skips[split], *skips[""]))

    @cached_property
    def _read(self) -> tuple[dict[str, list[Row]], dict[str, list[Skip]]]:
        rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
        skips: dict[str, list[Skip]] = {split: [] for split in (*SPLITS, "")}
        for line, cells in self._lines():
            try:
                split, row = self._row(cells)
                rows[split].append(row)
            except _Refused as refused:
                where = f"{self.file}:{line}"
                skips[refused.split].append(Skip(id=refused.id or where, where=where, reason=str(refused)))
        return rows, skips

    def _lines(self) -> Iterator[tuple[int, Mapping[str, str] | str]]:
        """(line number, cells by column), or why a row has none."""
        with reading(self.file), self.file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=self.config.delimiter, strict=True)
            try:
                header = self._header(next(reader, []))
                for cells in reader:
                    if cells:
                        yield reader.line_num, _by_column(header, cells)
            except csv.Error as error:
                raise DataError(f"{self.file}:{reader.line_num}: is no CSV ({error}).") from error

    def _header(self, header: list[str]) -> list[str]:
        """The header, checked.

        Raises:
            DataError: without a header, with a repeated column, or without a column the recipe names.
        """
        header = [name.strip() for name in header]
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DataError(f"{self.file}: the header names column '{twice[0]}' more than once.")
        wanted = [self._column(name) for name in self.modalities]
        wanted += [column for word, column in self.config.columns.items() if word in _WORDS]
        missing = [column for column in wanted if column not in header]
        if missing:
            have = ", ".join(header) or "none"
            raise DataError(f"{self.file}: there is no column '{missing[0]}'. Columns: {have}. Set columns if it has another name.")  # fmt: skip
        return header

    def _row(self, cells: Mapping[str, str] | str) -> tuple[str, Row]:
        if isinstance(cells, str):
            raise _Refused(cells)
        paths = tuple(cells[self._column(name)].strip() for name in self.modalities)
        id = self._cell(cells, "id") or next((path for path in paths if path), "")
        if not id:
            raise _Refused("the row has neither an id nor a path")
        split = self._split(cells, id)
        for path in paths:
            if path and not _inside(self.root, path):
                raise _Refused(f"the path '{path}' leads out of {self.root}", split, id)
        try:
            label = class_of(text, self._names) if (text := self._cell(cells, "label")) else None
        except UnknownLabel as error:
            raise _Refused(str(error), split, id) from error
        return split, Row(id, label, self._cell(cells, "caption") or None, paths)

    def _split(self, cells: Mapping[str, str], id: str) -> str:
        if self._column("split") not in cells:
            return drawn_split(id, self.config.fractions, self.config.seed)
        split = self._cell(cells, "split")
        if split not in SPLITS:
            raise _Refused(f"the split '{split}' is none of {', '.join(SPLITS)}", "", id)
        return split

    def _cell(self, cells: Mapping[str, str], word: str) -> str:
        return cells.get(self._column(word), "").strip()

    def _column(self, word: str) -> str:
        return self.config.columns.get(word, word)


class _Refused(ValueError):
    """A row that is left out: the reason, its split ("" when it has none) and its id."""

    def __init__(self, reason: str, split: str = "", id: str = "") -> None:
        super().__init__(reason)
        self.split, self.id = split, id


def _by_column(header: list[str], cells: list[str]) -> Mapping[str, str] | str:
    if len(cells) != len(header):
        return f"the row has {len(cells)} cells, the header {len(header)}"
    return dict(zip(header, cells))


def _inside(root: Path, path: str) -> bool:
    below = os.path.normpath(root / path)
    return "\0" not in path and below.startswith(os.path.join(os.path.normpath(root), ""))


def build(config: CsvConfig, context: edgefw.BuildContext) -> CsvDataset:
    """The data set; the file is read on first use.

    Raises:
        DataError: if the file does not exist, or `root` is no folder.
        RecipeError: if the classes cannot be read, or `columns` names an unknown word.
    """
    file = context.resolve(config.file)
    root = context.resolve(config.root) if config.root else file.parent
    modalities = context.modalities or ("rgb",)
    if not file.is_file():
        raise DataError(f"{context.path}.file: {file} is no file. Relative paths start from {context.base}.")
    if not root.is_dir():
        raise DataError(f"{context.path}.root: {root} is no folder. Relative paths start from {context.base}.")
    unknown = [word for word in config.columns if word not in (*_WORDS, *modalities)]
    if unknown:
        allowed = ", ".join((*_WORDS, *modalities))
        raise RecipeError(f"{context.path}.columns: '{unknown[0]}' is none of {allowed}.")
    names = read_classes(_listed(config.classes), context.base, f"{context.path}.classes") if config.classes else ()
    return CsvDataset(config, file, root, modalities, names)


def _listed(classes: str | tuple[str, ...]) -> str | list[str]:
    return classes if isinstance(classes, str) else list(classes)


@edgefw.hookimpl
def edgefw_register_datasets(register: Register) -> None:
    """Offer `csv`."""
    register(edgefw.Technique(name="csv", config=CsvConfig, build=build))
