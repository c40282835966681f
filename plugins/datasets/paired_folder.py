"""One folder or pattern of files per sensor; files of one name are one sample.

    root/color/kitchen/1.jpg, root/depth/kitchen/1.png         files: {rgb: color, depth: depth}
    root/train/color/1.jpg, root/train/depth/1.png             the same; splits from the folders
    root/scene0/color/1.jpg, root/scene0/depth/1.png           files: {rgb: "*/color/*.jpg", depth: "*/depth/*.png"}

A sample's id is the part of the path that its files share (see `edgefw.data.pairs`). Splits come from a first folder
train, val or test, from list files, or from a hash of the id (or of its first `together` folders, so that frames of one
scene stay together). Labels come from the folder below the split, or from a table of ids (or folders) and labels. A
sample without one of its sensors is used for what it has, or listed as skipped with `missing: skip`. No image is opened
here, and files are paired by name only: time stamps are not compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, overload

from pydantic import Field, model_validator

import edgefw
from edgefw.contracts.dataset import SPLITS, FileReference, Listing, Sample, Skip
from edgefw.data.class_names import UnknownLabel, class_of, found_classes, read_classes
from edgefw.data.file_trees import ENDINGS, printable
from edgefw.data.key_tables import differences, folders_and_self, looked_up, read_keys, read_labels
from edgefw.data.pairs import Pairs, find_pairs
from edgefw.data.splits import Fractions, drawn_split, hashed_place
from edgefw.errors import DataError, RecipeError

if TYPE_CHECKING:
    from edgefw.registry.technique import Register

_LABEL_WORDS = ("auto", "folders", "none")


class PairedFolderConfig(edgefw.TechniqueConfig):
    """Where each sensor's files are, what makes a split, and where labels come from."""

    root: str = Field(description="folder that everything else starts from")
    files: dict[str, str] = Field(
        default={}, description="modality -> folder or glob pattern below root; a modality left out: its own name"
    )
    splits: Literal["auto", "folders", "lists", "fractions"] = Field(
        default="auto",
        description="first folder train, val, test; list files; drawn; auto: lists if given, else folders if any",
    )
    lists: dict[Literal["train", "val", "test"], str] = Field(
        default={}, description="split -> text file below root with one sample, or folder of samples, a line"
    )
    fractions: Fractions = Field(default=Fractions(), description="shares of drawn splits")
    val_from_train: float | None = Field(
        default=None, gt=0, lt=1, description="share of train drawn as val, where there is no val"
    )
    together: int = Field(default=0, ge=0, description="samples with so many equal first folders share a drawn split")
    labels: str = Field(
        default="auto", description="folders, none, a file with a sample or folder and its label a line; auto: folders"
    )
    classes: str | tuple[str, ...] | None = Field(
        default=None, description="class names: a file or a list; null: the labels that occur"
    )
    missing: Literal["keep", "skip"] = Field(default="keep", description="a sample that lacks one of the sensors")
    extensions: tuple[str, ...] = Field(default=ENDINGS, min_length=1, description="file endings, in any case")
    seed: int = Field(default=0, ge=0, description="changes what is drawn")
    licence: str = Field(default="unknown", description="licence of the images, for the provenance")

    @model_validator(mode="after")
    def _splits_have_what_they_need(self) -> PairedFolderConfig:
        if self.splits == "lists" and not self.lists:
            raise ValueError("splits lists needs lists, such as {train: train.txt, test: test.txt}")
        if self.splits in ("folders", "fractions") and self.lists:
            raise ValueError(f"lists has no effect with splits {self.splits}; leave splits out, or set it to lists")
        if self.splits == "fractions" and self.val_from_train is not None:
            raise ValueError("val_from_train needs split folders or lists; with drawn splits set fractions.val")
        return self


class PairedSamples(Sequence[Sample]):
    """Samples of pairs, made when they are asked for."""

    def __init__(self, root: Path, pairs: Pairs, labels: Sequence[str | None], positions: Sequence[int]) -> None:
        self._root, self._pairs, self._labels, self._positions = root, pairs, labels, positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> PairedSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | PairedSamples:
        if isinstance(index, slice):
            return PairedSamples(self._root, self._pairs, self._labels, self._positions[index])
        row = self._positions[index]
        found = {sensor: paths[row] for sensor, paths in self._pairs.paths.items() if paths[row]}
        images = {sensor: FileReference(self._root / path) for sensor, path in found.items()}
        return Sample(id=self._pairs.keys[row], images=images, label=self._labels[row])


class Split(NamedTuple):
    """Positions of the samples that are used, and the ones that are not."""

    positions: list[int]
    skipped: list[Skip]


class PairedFolderDataset:
    """Paired files below one folder, see `edgefw.contracts.dataset.Dataset`."""

    def __init__(self, config: PairedFolderConfig, root: Path, files: dict[str, str], names: tuple[str, ...]) -> None:
        self.config, self.root, self.files = config, root, files
        self.licence = config.licence
        self._names = names

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The configured classes, or the labels that occur in a split."""
        used = (self._labels[row] for split in self._splits.values() for row in split.positions)
        return self._names or found_classes(label for label in used if label is not None)

    def listing(self, split: str) -> Listing:
        """The samples of a split in the order of their ids; files that no sample can use are listed with train."""
        if split not in SPLITS:
            return Listing(samples=())
        found = self._splits[split]
        samples = PairedSamples(self.root, self._pairs, self._labels, found.positions)
        beside = self._beside if split == "train" else []
        return Listing(samples=samples, skipped=(*found.skipped, *beside))

    @property
    def _beside(self) -> list[Skip]:
        """Files that no sample can use, and what the label table and the samples do not share."""
        refused = [self._skip(path, path, reason) for path, reason in self._pairs.refused]
        file = self.config.labels
        return refused + [self._skip(file, file, reason) for reason in differences(self._table, self._pairs.keys)]

    @cached_property
    def _pairs(self) -> Pairs:
        return find_pairs(self.root, self.files, self.config.extensions, SPLITS)

    @cached_property
    def _mode(self) -> str:
        if self.config.splits != "auto":
            return self.config.splits
        if self.config.lists:
            return "lists"
        first = {key.partition("/")[0] for key in self._pairs.keys if "/" in key}
        return "folders" if first & set(SPLITS) else "fractions"

    @cached_property
    def _splits(self) -> dict[str, Split]:
        splits = {split: Split([], []) for split in SPLITS}
        chosen = self._chosen_splits
        has_val = "val" in chosen
        for row, (key, split) in enumerate(zip(self._pairs.keys, chosen)):
            if split == "train" and self.config.val_from_train is not None and not has_val:
                split = (
                    "val" if hashed_place(self._group(key), self.config.seed) < self.config.val_from_train else split
                )
            if split in splits:
                self._put(splits[split], row, key)
        return splits

    def _put(self, split: Split, row: int, key: str) -> None:
        reason = self._wrong(row, key)
        if reason is None:
            split.positions.append(row)
        else:
            where = next(paths[row] for paths in self._pairs.paths.values() if paths[row])
            split.skipped.append(self._skip(key, where, reason))

    def _wrong(self, row: int, key: str) -> str | None:
        lacking = [sensor for sensor, paths in self._pairs.paths.items() if not paths[row]]
        if lacking and self.config.missing == "skip":
            return f"has no image of {' or '.join(lacking)}"
        label = self._labels[row]
        if label is None and self._by_folder:
            return "lies outside of the class folders"
        if label is not None and self._names and label not in self._names:
            return f"label '{label[:60]}' is none of the {len(self._names)} classes"
        return None

    @cached_property
    def _chosen_splits(self) -> list[str]:
        """The split of every pair; "" of none."""
        keys = self._pairs.keys
        if self._mode == "folders":
            return [key.partition("/")[0] for key in keys]
        if self._mode == "fractions":
            return [drawn_split(self._group(key), self.config.fractions, self.config.seed) for key in keys]
        listed = self._listed
        return [looked_up(listed, key) or "" for key in keys]

    @cached_property
    def _listed(self) -> dict[str, str]:
        """Key, or folder of keys -> split, of the list files.

        Raises:
            DataError: if a list cannot be read, names nothing that is there, or two lists share a name.
        """
        owner: dict[str, str] = {}
        known = Counter(part for key in self._pairs.keys for part in folders_and_self(key))
        for split, file in self.config.lists.items():
            keys = read_keys(self.root / file)
            for key in keys:
                if owner.setdefault(key, split) != split:
                    raise DataError(f"lists: '{key}' is in {owner[key]} and in {split}. Splits must not share samples.")
            if not any(key in known for key in keys):
                raise DataError(
                    f"lists.{split}: nothing that {self.root / file} names is there; it names '{keys[0]}', the first "
                    f"sample is '{self._pairs.keys[0]}'."
                )
        return owner

    def _group(self, key: str) -> str:
        """What is drawn: the id, or the folders of it that stay together."""
        folders = key.split("/")[:-1]
        return "/".join(folders[: self.config.together]) or key

    @cached_property
    def _by_folder(self) -> bool:
        if self.config.labels in _LABEL_WORDS:
            nested = (self._class_folder(key) is not None for key in self._pairs.keys)
            return self.config.labels == "folders" or (self.config.labels == "auto" and any(nested))
        return False

    @cached_property
    def _labels(self) -> list[str | None]:
        if self._table:
            return [looked_up(self._table, key) for key in self._pairs.keys]
        return [self._class_folder(key) if self._by_folder else None for key in self._pairs.keys]

    @cached_property
    def _table(self) -> dict[str, str]:
        """Key, or folder of keys -> label, of the label file; empty without one."""
        if self.config.labels in _LABEL_WORDS:
            return {}
        return {key: self._named(label) for key, label in read_labels(self.root / self.config.labels).items()}

    def _named(self, label: str) -> str:
        """The class that a table's label means; one that is none stays as it is, and is skipped later."""
        try:
            return class_of(label, self._names)
        except UnknownLabel:
            return label

    def _class_folder(self, key: str) -> str | None:
        folders = key.split("/")[:-1]
        below = folders[1:] if self._mode == "folders" else folders
        return below[0] if below else None

    def _skip(self, id: str, path: str, reason: str) -> Skip:
        return Skip(id=printable(id), where=str(self.root / printable(path)), reason=reason)


def build(config: PairedFolderConfig, context: edgefw.BuildContext) -> PairedFolderDataset:
    """The data set; folders are walked on first use.

    Raises:
        DataError: if `root` is no folder, or a list or label file is not there.
        RecipeError: if `files` names no modality of the recipe, or the classes cannot be read.
    """
    root = context.resolve(config.root)
    if not root.is_dir():
        raise DataError(f"{context.path}.root: {root} is no folder. Relative paths start from {context.base}.")
    modalities = context.modalities or tuple(config.files) or ("rgb",)
    unknown = [name for name in config.files if name not in modalities]
    if unknown:
        names = ", ".join(modalities)
        raise RecipeError(f"{context.path}.files: '{unknown[0]}' is none of the recipe's modalities: {names}.")
    wanted = {f"lists.{split}": file for split, file in config.lists.items()}
    if config.labels not in _LABEL_WORDS:
        wanted["labels"] = config.labels
    for option, file in wanted.items():
        if not (root / file).is_file():
            raise DataError(f"{context.path}.{option}: {root / file} is no file. It starts from root.")
    listed = list(config.classes) if isinstance(config.classes, tuple) else config.classes
    classes = read_classes(listed, context.base, f"{context.path}.classes") if listed else ()
    return PairedFolderDataset(config, root, {name: config.files.get(name, name) for name in modalities}, classes)


@edgefw.hookimpl
def edgefw_register_datasets(register: Register) -> None:
    """Offer `paired-folder`."""
    register(edgefw.Technique(name="paired-folder", config=PairedFolderConfig, build=build))
