"""Tables of the Hugging Face `datasets` library: a local folder or a hub name.

Read offline: a folder written by `save_to_disk`, a folder of Parquet or Arrow files, or an image folder of that library.
A name such as `uoft-cs/cifar10` is downloaded by the library once, into its own cache. Columns hold the images: images,
encoded bytes, paths (from the folder), or arrays (a depth map in metres; given on as `.npy`). The table stays on disk:
a sample costs some bytes of memory, and an image is read when it is used. Split names `validation`, `valid` and `dev`
mean val. Data sets that need code of their own are not run. It imports no torch; `datasets` is imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from pydantic import Field, model_validator

import edgefw
from edgefw.contracts.dataset import SPLITS, Listing, Sample, Skip
from edgefw.data.class_names import UnknownLabel, class_of, found_classes, read_classes
from edgefw.data.splits import Fractions, drawn_split, hashed_place
from edgefw.errors import DataError, RecipeError
from edgefw.plugins.datasets.hub_tables import Rows, load, present, undecoded

if TYPE_CHECKING:
    from edgefw.registry.technique import Register

_USUAL = {"train": ("train", "training"), "val": ("val", "validation", "valid", "dev"), "test": ("test", "testing")}


class HuggingFaceConfig(edgefw.TechniqueConfig):
    """Which data set, which columns, and which of its splits are train, val and test."""

    path: str = Field(description="local folder, or the name of a data set on the hub")
    subset: str | None = Field(default=None, description="configuration of a data set that has several")
    revision: str | None = Field(default=None, description="commit or tag on the hub; null: the newest")
    images: dict[str, str] = Field(default={}, description="modality -> column; one left out: the column of its name")
    id: str | None = Field(default=None, description="column of the ids; null: split and row number")
    label: str | None = Field(default=None, description="column of the labels")
    caption: str | None = Field(default=None, description="column of the captions")
    classes: str | tuple[str, ...] | None = Field(
        default=None, description="class names: a file or a list; null: the column's own, else the labels that occur"
    )
    splits: dict[Literal["train", "val", "test"], str] = Field(
        default={}, description="split -> its name in the data set; those left out: the usual names"
    )
    fractions: Fractions | None = Field(default=None, description="draw the splits from the whole of train")
    val_from_train: float | None = Field(
        default=None, gt=0, lt=1, description="share of train drawn as val, where there is no val"
    )
    seed: int = Field(default=0, ge=0, description="changes what is drawn")
    licence: str | None = Field(default=None, description="licence of the data; null: what the data set says")

    @model_validator(mode="after")
    def _drawn_or_given(self) -> HuggingFaceConfig:
        if self.fractions is not None and self.val_from_train is not None:
            raise ValueError("val_from_train has no effect beside fractions; set fractions.val")
        return self


class RowSamples(Sequence[Sample]):
    """Samples of rows, made when they are asked for."""

    def __init__(self, rows: Rows, positions: np.ndarray) -> None:
        self._rows, self._positions = rows, positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> RowSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | RowSamples:
        if isinstance(index, slice):
            return RowSamples(self._rows, self._positions[index])
        return self._rows.sample(int(self._positions[index]))


class HuggingFaceDataset:
    """Rows of a `datasets` data set, see `edgefw.contracts.dataset.Dataset`."""

    def __init__(
        self, config: HuggingFaceConfig, place: Path | str, cache: Path, columns: dict[str, str], names: tuple[str, ...]
    ) -> None:
        self.config, self.place, self.cache, self.columns = config, place, cache, columns
        self._names = names
        self._known: dict[str, Rows] = {}

    @property
    def licence(self) -> str:
        """The configured one, or what the data set says of itself."""
        said = next(iter(self._tables.values())).info.license
        return self.config.licence or str(said or "unknown")

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The configured classes, the label column's own names, or the labels that occur."""
        if self._names or self.config.label is None:
            return self._names
        own = self._own_names(next(iter(self._tables.values())))
        if own:
            return own
        labels = (label for split in SPLITS for label in self._used_labels(split))
        return found_classes(label for label in labels if label is not None)

    def listing(self, split: str) -> Listing:
        """The rows of a split in their order; a row whose label is no class is skipped."""
        name = self._source(split) if split in SPLITS else None
        if name is None:
            return Listing(samples=())
        rows = self._rows(name)
        mine = np.array([self._split_of(rows, row, split) == split for row in range(len(rows.labels))], dtype=bool)
        wrong = self._strangers(rows, mine)
        for skip_row in wrong:
            mine[skip_row] = False
        skipped = tuple(Skip(id=rows.id(row), where=rows.where(row), reason=reason) for row, reason in wrong.items())
        return Listing(samples=RowSamples(rows, np.flatnonzero(mine)), skipped=skipped)

    def _source(self, split: str) -> str | None:
        """The data set's own split that one of ours is (drawn from)."""
        own = self._own_split(split)
        if self.config.fractions is not None:
            return self._own_split("train")
        if split == "val" and own is None and self.config.val_from_train is not None:
            return self._own_split("train")
        return own

    def _own_split(self, split: str) -> str | None:
        named = self.config.splits.get(split)  # type: ignore[call-overload]
        if named is not None and named not in self._tables:
            raise DataError(f"{self.place}: there is no split '{named}'. Splits: {', '.join(self._tables)}.")
        return named or next((name for name in _USUAL[split] if name in self._tables), None)

    def _split_of(self, rows: Rows, row: int, split: str) -> str:
        if self.config.fractions is not None:
            return drawn_split(rows.id(row), self.config.fractions, self.config.seed)
        share = self.config.val_from_train
        if share is not None and rows.name == self._own_split("train") and self._own_split("val") is None:
            return "val" if hashed_place(rows.id(row), self.config.seed) < share else "train"
        return split

    def _strangers(self, rows: Rows, mine: np.ndarray) -> dict[int, str]:
        """Rows whose label is none of the configured classes, with the reason."""
        known = set(self._names)
        found: dict[int, str] = {}
        for row in np.flatnonzero(mine).tolist() if known else ():
            label = rows.labels[row]
            if label is not None and label not in known:
                found[row] = f"label '{label[:60]}' is none of the {len(known)} classes"
        return found

    def _used_labels(self, split: str) -> list[str | None]:
        name = self._source(split)
        return list(self._rows(name).labels) if name else []

    @cached_property
    def _tables(self) -> dict[str, Any]:
        return load(self.place, self.config.subset, self.config.revision, self.cache)

    def _rows(self, name: str) -> Rows:
        if name not in self._known:
            self._known[name] = self._read(name, self._tables[name])
        return self._known[name]

    def _read(self, name: str, table: Any) -> Rows:
        missing = [column for column in self._wanted() if column not in table.column_names]
        if missing:
            have = ", ".join(table.column_names)
            raise DataError(f"{self.place}: split '{name}' has no column '{missing[0]}'. Columns: {have}. Set images, label, caption or id.")  # fmt: skip
        images = {sensor: (undecoded(table, column), column) for sensor, column in self.columns.items()}
        caption, id = self.config.caption, self.config.id
        return Rows(
            name=name,
            place=self.place,
            state=str(table._fingerprint),
            tables=images,
            present={sensor: present(*pair) for sensor, pair in images.items()},
            labels=self._labels(table),
            ids=[str(value) for value in table.select_columns([id])[:][id]] if id else None,
            captions=(table.select_columns([caption]), caption) if caption else None,
        )

    def _wanted(self) -> list[str]:
        more = (self.config.label, self.config.caption, self.config.id)
        return [*self.columns.values(), *(column for column in more if column)]

    def _labels(self, table: Any) -> list[str | None]:
        column = self.config.label
        if column is None:
            return [None] * table.num_rows
        names = self._own_names(table) or self._names
        cells = table.select_columns([column])[:][column]
        return [_label(cell, names) for cell in cells]

    def _own_names(self, table: Any) -> tuple[str, ...]:
        return tuple(getattr(table.features[self.config.label], "names", None) or ())


def _label(cell: Any, names: tuple[str, ...]) -> str | None:
    if cell is None or cell == "" or (isinstance(cell, int) and cell < 0):
        return None
    try:
        return class_of(cell, names)
    except UnknownLabel:
        return " ".join(str(cell).split()) or None


def build(config: HuggingFaceConfig, context: edgefw.BuildContext) -> HuggingFaceDataset:
    """The data set; it is loaded on first use. `path` is a folder if there is one of that name, else a hub name.

    Raises:
        DataError: if `path` is written like a folder and is none.
        RecipeError: if `images` names no modality of the recipe, or the classes cannot be read.
    """
    folder = context.resolve(config.path)
    written_as_folder = config.path.startswith((".", "/", "~")) or config.path.count("/") > 1
    if written_as_folder and not folder.is_dir():
        raise DataError(f"{context.path}.path: {folder} is no folder. Relative paths start from {context.base}.")
    modalities = context.modalities or tuple(config.images) or ("rgb",)
    unknown = [name for name in config.images if name not in modalities]
    if unknown:
        raise RecipeError(
            f"{context.path}.images: '{unknown[0]}' is none of the recipe's modalities: {', '.join(modalities)}."
        )
    listed = list(config.classes) if isinstance(config.classes, tuple) else config.classes
    names = read_classes(listed, context.base, f"{context.path}.classes") if listed else ()
    place = folder if folder.is_dir() else config.path
    columns = {name: config.images.get(name, name) for name in modalities}
    return HuggingFaceDataset(config, place, context.cache, columns, names)


@edgefw.hookimpl
def edgefw_register_datasets(register: Register) -> None:
    """Offer `huggingface`."""
    register(
        edgefw.Technique(
            name="huggingface",
            config=HuggingFaceConfig,
            build=build,
            requires=("datasets",),
            install='pip install "edgefw[huggingface]"',
        )
    )
