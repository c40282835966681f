"""The folder data set: labels and splits from folders or fractions, stable, without opening an image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

import edgefw
from edgefw.contracts.dataset import SPLITS
from edgefw.data.splits import Fractions, drawn_split
from edgefw.errors import DataError, RecipeError
from edgefw.plugins.datasets.folder import FolderConfig, FolderDataset, build


def tree(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")
    return root


def opened(root: Path, modalities: tuple[str, ...] = ("rgb",), **options: object) -> FolderDataset:
    context = edgefw.BuildContext(path="data", base=root.parent, cache=root.parent, modalities=modalities)
    return build(FolderConfig(root=str(root), **options), context)


def ids(dataset: FolderDataset, split: str) -> list[str]:
    return [sample.id for sample in dataset.listing(split).samples]


def test_split_folders_with_class_folders(tmp_path: Path) -> None:
    data = opened(tree(tmp_path / "d", "train/dog/2.jpg", "train/cat/a/1.PNG", "val/cat/3.jpg", "test/emu/4.jpg"))
    assert data.classes == ("cat", "dog", "emu")
    train = data.listing("train").samples
    assert [(sample.id, sample.label) for sample in train] == [("train/cat/a/1.PNG", "cat"), ("train/dog/2.jpg", "dog")]
    assert train[0].images["rgb"].read() == b"x" and train[-1].id == "train/dog/2.jpg" and len(train[1:]) == 1
    assert ids(data, "val") == ["val/cat/3.jpg"] and ids(data, "other") == []


def test_drawn_splits_with_class_folders(tmp_path: Path) -> None:
    files = [f"{label}/{index}.jpg" for label in ("cat", "dog") for index in range(60)]
    data = opened(tree(tmp_path / "d", *files), fractions={"train": 0.5, "val": 0.3, "test": 0.2}, seed=4)
    fractions = Fractions(train=0.5, val=0.3, test=0.2)
    for split in SPLITS:
        assert ids(data, split) == sorted(file for file in files if drawn_split(file, fractions, 4) == split)
    assert data.classes == ("cat", "dog")


def test_a_drawn_split_stays_when_files_are_added(tmp_path: Path) -> None:
    before = {split: ids(opened(tree(tmp_path / "d", *(f"{i}.jpg" for i in range(40)))), split) for split in SPLITS}
    after = opened(tree(tmp_path / "d", *(f"{i}.jpg" for i in range(100))))
    assert all(set(before[split]) <= set(ids(after, split)) for split in SPLITS)


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    data = opened(tree(tmp_path / "d", "1.jpg", "2.jpg", "3.jpg"), fractions={"train": 1, "val": 0, "test": 0})
    assert data.classes == () and [sample.label for sample in data.listing("train").samples] == [None] * 3


def test_folders_need_not_be_labels(tmp_path: Path) -> None:
    data = opened(tree(tmp_path / "d", "train/monday/1.jpg", "train/tuesday/2.jpg"), labels="none")
    assert data.classes == () and len(ids(data, "train")) == 2


def test_files_beside_class_folders_are_listed_as_skipped(tmp_path: Path) -> None:
    listing = opened(tree(tmp_path / "d", "train/cat/1.jpg", "train/stray.jpg")).listing("train")
    assert [sample.id for sample in listing.samples] == ["train/cat/1.jpg"]
    assert [(skip.id, skip.reason) for skip in listing.skipped] == [
        ("train/stray.jpg", "lies outside of the class folders")
    ]


def test_other_endings_are_skipped_and_hidden_files_ignored(tmp_path: Path) -> None:
    data = opened(
        tree(tmp_path / "d", "train/cat/1.jpg", "train/cat/Thumbs.db", "train/.cache/1.jpg", "train/cat/.DS_Store")
    )
    listing = data.listing("train")
    assert len(listing.samples) == 1 and [skip.id for skip in listing.skipped] == ["train/cat/Thumbs.db"]
    assert opened(tmp_path / "d", extensions=(".db",)).listing("train").samples[0].id == "train/cat/Thumbs.db"


def test_a_name_that_is_not_utf8_is_skipped(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "train/cat/1.jpg")
    try:
        Path(os.fsdecode(os.fsencode(root / "train/cat") + b"/caf\xe9.jpg")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    listing = opened(root).listing("train")
    assert len(listing.samples) == 1 and listing.skipped[0].reason == "the file name is not UTF-8"
    assert listing.skipped[0].where.encode()


def test_val_may_be_drawn_from_train(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", *(f"train/cat/{index}.jpg" for index in range(300)), "test/cat/1.jpg")
    assert ids(opened(root), "val") == []
    data = opened(root, val_from_train=0.2)
    assert 35 < len(ids(data, "val")) < 85 and len(ids(data, "train")) + len(ids(data, "val")) == 300
    tree(root, "val/cat/1.jpg")
    assert ids(opened(root, val_from_train=0.2), "val") == ["val/cat/1.jpg"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "train/cat/1.jpg")
    (root / "train/cat/again").symlink_to(root / "train", target_is_directory=True)
    assert len(ids(opened(root), "train")) == 1


def test_the_modality_is_the_first_one_or_the_named_one(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "train/cat/1.jpg")
    first = opened(root, ("depth", "rgb")).listing("train").samples[0]
    named = opened(root, ("depth", "rgb"), modality="rgb").listing("train").samples[0]
    assert list(first.images) == ["depth"] and list(named.images) == ["rgb"]
    with pytest.raises(RecipeError, match=r"data\.modality: 'nir' is none of the recipe's modalities: depth, rgb"):
        opened(root, ("depth", "rgb"), modality="nir")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = opened(tree(tmp_path / "d", "train/cat/1.jpg"))

    def refuse(folder: str) -> None:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything, so that chmod would show nothing
    with pytest.raises(DataError, match=r"/d: the folder cannot be read \(Permission denied\)"):
        data.listing("train")


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root: .*/nowhere is no folder"):
        opened(tmp_path / "nowhere")


def test_options_without_effect_are_refused() -> None:
    with pytest.raises(ValidationError, match="val_from_train needs split folders"):
        FolderConfig(root="d", splits="fractions", val_from_train=0.1)
    with pytest.raises(ValidationError, match="fractions has no effect"):
        FolderConfig(root="d", splits="folders", fractions=Fractions(train=1, val=0, test=0))
