"""Image files in class subfolders or flat, split by subfolders or by fractions.

    root/train/cat/1.jpg       splits from folders (any of train, val, test), labels from the folders below
    root/cat/1.jpg             labels from folders, splits drawn by `fractions`
    root/1.jpg                 no labels, splits drawn by `fractions`

A drawn split is a hash of the file's path below `root` and of `seed` (this option, not the run's seed): it stays as it
is when files are added. One modality per folder data set; sensors with files of their own need `paired-folder`, `csv`
or `webdataset`.
Files with other endings are listed as skipped; hidden files are not looked at. No image is opened here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, overload

from pydantic import Field, model_validator

import edgefw
from edgefw.contracts.dataset import SPLITS, FileReference, Listing, Sample, Skip
from edgefw.data.file_trees import ENDINGS, files_below, printable
from edgefw.data.splits import Fractions, drawn_split, hashed_place
from edgefw.errors import DataError, RecipeError

if TYPE_CHECKING:
    from edgefw.registry.technique import Register


class FolderConfig(edgefw.TechniqueConfig):
    """Where the files are, how they are split, and whether folders are labels."""

    root: str = Field(description="folder with the images")
    modality: str | None = Field(default=None, description="the recipe's modality of the files; null: its first one")
    splits: Literal["auto", "folders", "fractions"] = Field(
        default="auto", description="folders train, val, test; drawn fractions; auto: folders if there is one of them"
    )
    fractions: Fractions = Field(default=Fractions(), description="shares of drawn splits")
    val_from_train: float | None = Field(
        default=None, gt=0, lt=1, description="share of the train folder drawn as val, where there is no val folder"
    )
    seed: int = Field(default=0, ge=0, description="changes what is drawn")
    labels: Literal["auto", "folders", "none"] = Field(
        default="auto", description="folders are classes; no labels; auto: folders unless all files lie flat"
    )
    extensions: tuple[str, ...] = Field(default=ENDINGS, min_length=1, description="file endings, in any case")
    licence: str = Field(default="unknown", description="licence of the images, for the provenance")

    @model_validator(mode="after")
    def _shares_belong_to_their_splits(self) -> FolderConfig:
        if self.splits == "fractions" and self.val_from_train is not None:
            raise ValueError("val_from_train needs split folders; with drawn splits set fractions.val")
        if self.splits == "folders" and self.fractions != Fractions():
            raise ValueError("fractions has no effect with split folders; set splits to fractions")
        return self


class FolderSamples(Sequence[Sample]):
    """Samples of paths, made when they are asked for."""

    def __init__(self, root: Path, modality: str, paths: list[str], labels: list[str | None]) -> None:
        self._root, self._modality = root, modality
        self._paths, self._labels = paths, labels

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> FolderSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | FolderSamples:
        if isinstance(index, slice):
            return FolderSamples(self._root, self._modality, self._paths[index], self._labels[index])
        path = self._paths[index]
        return Sample(id=path, images={self._modality: FileReference(self._root / path)}, label=self._labels[index])


class FolderDataset:
    """Image files below one folder, see `edgefw.contracts.dataset.Dataset`."""

    def __init__(self, config: FolderConfig, root: Path, modality: str) -> None:
        self.config, self.root, self.modality = config, root, modality
        self.licence = config.licence

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders that hold an image, in alphabetical order."""
        return tuple(sorted({label for labels in self._labels.values() for label in labels if label is not None}))

    def listing(self, split: str) -> Listing:
        """The files of a split in the order of their paths."""
        if split not in SPLITS:
            return Listing(samples=())
        paths, labels = self._paths[split], self._labels[split]
        stray = [path for path, label in zip(paths, labels) if self._wants_label and label is None]
        outside = [self._skip(path, "lies outside of the class folders") for path in stray]
        kept = [index for index, label in enumerate(labels) if label is not None or not self._wants_label]
        samples = FolderSamples(self.root, self.modality, [paths[i] for i in kept], [labels[i] for i in kept])
        return Listing(samples=samples, skipped=(*self._skips[split], *outside))

    @cached_property
    def _files(self) -> list[str]:
        return sorted(files_below(self.root))

    @cached_property
    def _by_folder(self) -> bool:
        return self.config.splits == "folders" or (
            self.config.splits == "auto" and any((self.root / split).is_dir() for split in SPLITS)
        )

    @cached_property
    def _split_files(self) -> dict[str, list[str]]:
        files: dict[str, list[str]] = {split: [] for split in SPLITS}
        for path in self._files:
            split = self._folder_split(path) if self._by_folder else self._drawn_split(path)
            if split in files:
                files[split].append(path)
        return files

    def _folder_split(self, path: str) -> str:
        split = path.partition("/")[0]
        share = self.config.val_from_train
        drawn = split == "train" and share is not None and not (self.root / "val").is_dir()
        return "val" if drawn and hashed_place(printable(path), self.config.seed) < (share or 0) else split

    def _drawn_split(self, path: str) -> str:
        return drawn_split(printable(path), self.config.fractions, self.config.seed)

    @cached_property
    def _paths(self) -> dict[str, list[str]]:
        return {split: [path for path in files if not self._wrong(path)] for split, files in self._split_files.items()}

    @cached_property
    def _skips(self) -> dict[str, list[Skip]]:
        return {
            split: [self._skip(path, reason) for path in files if (reason := self._wrong(path))]
            for split, files in self._split_files.items()
        }

    @cached_property
    def _wants_label(self) -> bool:
        nested = (self._class_folder(path) is not None for paths in self._paths.values() for path in paths)
        return self.config.labels == "folders" or (self.config.labels == "auto" and any(nested))

    @cached_property
    def _labels(self) -> dict[str, list[str | None]]:
        def label(path: str) -> str | None:
            return self._class_folder(path) if self._wants_label else None

        return {split: [label(path) for path in paths] for split, paths in self._paths.items()}

    def _class_folder(self, path: str) -> str | None:
        folders = PurePosixPath(path).parts[:-1]
        below = folders[1:] if self._by_folder else folders
        return below[0] if below else None

    def _wrong(self, path: str) -> str | None:
        if printable(path) != path:
            return "the file name is not UTF-8"
        ending = PurePosixPath(path).suffix.lower()
        if ending not in {extension.lower() for extension in self.config.extensions}:
            return f"the ending '{ending}' is none of extensions"
        return None

    def _skip(self, path: str, reason: str) -> Skip:
        return Skip(id=printable(path), where=str(self.root / printable(path)), reason=reason)


def build(config: FolderConfig, context: edgefw.BuildContext) -> FolderDataset:
    """The data set.

    Raises:
        DataError: if `root` is no folder.
        RecipeError: if `modality` is none of the recipe's.
    """
    root = context.resolve(config.root)
    if not root.is_dir():
        raise DataError(f"{context.path}.root: {root} is no folder. Relative paths start from {context.base}.")
    modality = config.modality or (context.modalities[0] if context.modalities else "rgb")
    if context.modalities and modality not in context.modalities:
        names = ", ".join(context.modalities)
        raise RecipeError(f"{context.path}.modality: '{modality}' is none of the recipe's modalities: {names}.")
    return FolderDataset(config, root, modality)


@edgefw.hookimpl
def edgefw_register_datasets(register: Register) -> None:
    """Offer `folder`."""
    register(edgefw.Technique(name="folder", config=FolderConfig, build=build))
