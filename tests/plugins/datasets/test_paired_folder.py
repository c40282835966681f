"""The paired-folder data set: pairs, splits, labels, missing partners."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgefw
from edgefw.contracts.dataset import SPLITS
from edgefw.data.splits import Fractions, drawn_split
from edgefw.errors import DataError, EdgefwError, RecipeError
from edgefw.plugins.datasets.paired_folder import PairedFolderConfig, PairedFolderDataset, build


def opened(
    root: Path, *paths: str, modalities: tuple[str, ...] = ("rgb", "depth"), **options: object
) -> PairedFolderDataset:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    context = edgefw.BuildContext(path="data", base=root, cache=root, modalities=modalities)
    return build(PairedFolderConfig(root=".", **options), context)


def ids(data: PairedFolderDataset, split: str) -> list[str]:
    return [sample.id for sample in data.listing(split).samples]


def test_a_sample_is_what_shares_a_name(tmp_path: Path) -> None:
    paths = ("color/train/mug/1.jpg", "depth/train/mug/1.png", "color/train/cup/2.jpg", "color/val/mug/3.jpg")
    data = opened(tmp_path, *paths, files={"rgb": "color"})
    second, first = data.listing("train").samples
    assert (first.id, first.label) == ("train/mug/1", "mug")
    assert {name: reference.read() for name, reference in first.images.items()} == {
        "rgb": b"color/train/mug/1.jpg",
        "depth": b"depth/train/mug/1.png",
    }
    assert set(second.images) == {"rgb"} and data.classes == ("cup", "mug")
    assert ids(data, "val") == ["val/mug/3"] and not data.listing("test").samples and not data.listing("all").samples


def test_a_missing_partner_is_kept_or_listed(tmp_path: Path) -> None:
    paths = ("rgb/train/a/1.jpg", "rgb/train/a/2.jpg", "depth/train/a/2.png", "depth/train/a/3.png")
    kept = opened(tmp_path, *paths).listing("train")
    assert [set(sample.images) for sample in kept.samples] == [{"rgb"}, {"rgb", "depth"}, {"depth"}]
    skipped = opened(tmp_path, missing="skip").listing("train")
    assert [sample.id for sample in skipped.samples] == ["train/a/2"]
    assert [(skip.id, skip.reason) for skip in skipped.skipped] == [
        ("train/a/1", "has no image of depth"),
        ("train/a/3", "has no image of rgb"),
    ]
    assert skipped.skipped[1].where == str(tmp_path / "depth/train/a/3.png")


def test_scenes_stay_together_in_drawn_splits(tmp_path: Path) -> None:
    paths = [f"s{scene}/{folder}/{frame}.png" for scene in range(30) for folder in ("c", "d") for frame in range(3)]
    data = opened(tmp_path, *paths, files={"rgb": "*/c/*.png", "depth": "*/d/*.png"}, together=1, labels="none", seed=4)
    for split in SPLITS:
        scenes = [f"s{scene}" for scene in range(30) if drawn_split(f"s{scene}", Fractions(), 4) == split]
        assert ids(data, split) == sorted(f"{scene}/{frame}" for scene in scenes for frame in range(3))
    assert data.classes == ()


def test_lists_name_samples_or_folders_and_may_leave_some_out(tmp_path: Path) -> None:
    paths = [f"rgb/{name}.jpg" for name in ("s0/1", "s0/2", "s1/1", "s2/1")]
    (tmp_path / "train.txt").write_text("s0\n")
    (tmp_path / "test.txt").write_text("s1/1.jpg\n")
    data = opened(
        tmp_path, *paths, modalities=("rgb",), lists={"train": "train.txt", "test": "test.txt"}, labels="none"
    )
    assert (ids(data, "train"), ids(data, "val"), ids(data, "test")) == (["s0/1", "s0/2"], [], ["s1/1"])


def test_labels_come_from_a_table_of_folders_and_samples(tmp_path: Path) -> None:
    paths = [f"rgb/{name}.jpg" for name in ("s0/1", "s0/2", "s1/1", "s2/1")]
    (tmp_path / "labels.csv").write_text("s0,kitchen\ns0/2,hall\ns2,sea\n")
    (tmp_path / "all.txt").write_text("s0\ns1\ns2\n")
    options = {"labels": "labels.csv", "lists": {"train": "all.txt"}, "classes": ("hall", "kitchen")}
    listing = opened(tmp_path, *paths, modalities=("rgb",), **options).listing("train")
    assert [(sample.id, sample.label) for sample in listing.samples] == [
        ("s0/1", "kitchen"),
        ("s0/2", "hall"),
        ("s1/1", None),
    ]
    assert [(skip.id, skip.reason) for skip in listing.skipped] == [
        ("s2/1", "label 'sea' is none of the 2 classes"),
        ("labels.csv", "names no label for 1 of 4 samples, which stay unlabelled, the first one 's1/1'"),
    ]


def test_a_label_table_that_is_longer_than_the_samples_is_listed_once(tmp_path: Path) -> None:
    paths = [f"rgb/train/{name}.jpg" for name in ("1", "2")]
    (tmp_path / "labels.csv").write_text("train/1,hall\ntrain/2.jpg,sea\ntrain/3,hall\ntrain/4,sea\n")
    data = opened(tmp_path, *paths, modalities=("rgb",), labels="labels.csv")
    listing = data.listing("train")
    assert [(sample.id, sample.label) for sample in listing.samples] == [("train/1", "hall"), ("train/2", "sea")]
    assert [skip.reason for skip in listing.skipped] == ["2 of its 4 rows name no sample, the first one 'train/3'"]
    assert data.listing("test").skipped == ()


def test_val_is_drawn_from_train_where_there_is_none(tmp_path: Path) -> None:
    paths = [f"rgb/train/a/{number}.jpg" for number in range(40)] + ["rgb/test/a/1.jpg"]
    data = opened(tmp_path, *paths, modalities=("rgb",), val_from_train=0.3)
    assert 5 < len(ids(data, "val")) < 20 and len(ids(data, "val")) + len(ids(data, "train")) == 40
    assert ids(data, "test") == ["test/a/1"]


def test_files_that_cannot_be_used_are_listed_once(tmp_path: Path) -> None:
    data = opened(tmp_path, "rgb/train/a/1.jpg", "rgb/train/a/readme.md", "rgb/train/2.jpg", modalities=("rgb",))
    reasons = {skip.id: skip.reason for split in SPLITS for skip in data.listing(split).skipped}
    assert reasons == {
        "rgb/train/a/readme.md": "the ending '.md' is none of extensions",
        "train/2": "lies outside of the class folders",
    }


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        (
            {"files": {"nir": "rgb"}},
            RecipeError,
            r"data\.files: 'nir' is none of the recipe's modalities: rgb, depth\.",
        ),
        ({"lists": {"val": "no.txt"}}, DataError, r"data\.lists\.val: .*no\.txt is no file\. It starts from root\."),
        ({"labels": "no.csv"}, DataError, r"data\.labels: .*no\.csv is no file\."),
        ({"lists": {"train": "l.txt"}}, DataError, r"lists\.train: nothing that .*l\.txt names is there; it names 'x'"),
        ({"lists": {"train": "k.txt", "val": "k.txt"}}, DataError, r"lists: 'a' is in train and in val\."),
        ({"files": {"depth": "deep"}}, DataError, r"deep: there is no such folder\."),
    ],
)
def test_what_is_wrong_is_one_message(
    tmp_path: Path, options: dict[str, object], kind: type[EdgefwError], text: str
) -> None:
    (tmp_path / "l.txt").write_text("x\n")
    (tmp_path / "k.txt").write_text("a\n")
    with pytest.raises(kind, match=text):
        opened(tmp_path, "rgb/a/1.jpg", "depth/a/1.png", **options).listing("train")


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root: .*no is no folder\. Relative paths start from"):
        build(PairedFolderConfig(root="no"), edgefw.BuildContext(path="data", base=tmp_path))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"splits": "lists"}, "splits lists needs lists"),
        ({"splits": "folders", "lists": {"train": "t"}}, "lists has no effect with splits folders"),
        ({"splits": "fractions", "val_from_train": 0.1}, "set fractions.val"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        PairedFolderConfig(root=".", **options)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=20), st.integers(0, 5))
def test_splits_share_out_every_pair(
    tmp_path_factory: pytest.TempPathFactory, names: set[tuple[str, int]], seed: int
) -> None:
    root = tmp_path_factory.mktemp("pairs")
    data = opened(root, *(f"rgb/{folder}/{number}.png" for folder, number in names), modalities=("rgb",), seed=seed)
    found = [id for split in SPLITS for id in ids(data, split)]
    assert sorted(found) == sorted(f"{folder}/{number}" for folder, number in names)
