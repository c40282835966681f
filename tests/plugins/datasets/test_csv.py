"""The csv data set: columns, splits, labels, and rows that cannot be used."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgefw
from edgefw.contracts.dataset import SPLITS
from edgefw.data.splits import Fractions, drawn_split
from edgefw.errors import DataError, EdgefwError, RecipeError
from edgefw.plugins.datasets.csv import CsvConfig, CsvDataset, build

HEADER = "id,split,label,caption,rgb,depth"


def opened(
    folder: Path, text: str | bytes, modalities: tuple[str, ...] = ("rgb", "depth"), **options: object
) -> CsvDataset:
    (folder / "set.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    context = edgefw.BuildContext(path="data", base=folder, cache=folder, modalities=modalities)
    return build(CsvConfig(file="set.csv", **options), context)


def test_a_row_is_a_sample(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"image")
    data = opened(
        tmp_path, f'{HEADER}\na,train,mug,"a mug, blue",1.jpg,1.png\nb,train,cup,,2.jpg,\nc,val,mug,,3.jpg,3.png\n'
    )
    first, second = data.listing("train").samples
    assert (first.id, first.label, first.caption) == ("a", "mug", "a mug, blue")
    assert first.images["rgb"].read() == b"image" and set(first.images) == {"rgb", "depth"}
    assert second.caption is None and set(second.images) == {"rgb"}
    assert data.classes == ("cup", "mug") and len(data.listing("val").samples) == 1 and not data.listing("test").samples


def test_only_paths_are_needed(tmp_path: Path) -> None:
    rows = [f"images/{index}.jpg" for index in range(60)]
    data = opened(tmp_path, "rgb\n" + "\n".join(rows), ("rgb",), seed=2)
    for split in SPLITS:
        expected = [row for row in rows if drawn_split(row, Fractions(), 2) == split]
        assert [sample.id for sample in data.listing(split).samples] == expected
    assert data.classes == ()


def test_columns_delimiter_and_root_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/1.jpg").write_bytes(b"image")
    data = opened(
        tmp_path, "\ufeffpicture;class;set\n1.jpg;0;train\n", ("rgb",), delimiter=";", root="files",
        columns={"rgb": "picture", "label": "class", "split": "set"}, classes=("mug", "cup"),
    )  # fmt: skip
    [sample] = data.listing("train").samples
    assert sample.images["rgb"].read() == b"image" and sample.label == "mug" and data.classes == ("mug", "cup")


def test_unusable_rows_are_listed_with_their_line(tmp_path: Path) -> None:
    text = f"""{HEADER}
a,train,mug,,1.jpg,1.png
b,trian,mug,,1.jpg,1.png
c,train,pony,,1.jpg,1.png
d,train,mug,,../1.jpg,1.png
e,train,mug
f,train,mug,,1.jpg,1.png,more
,train,mug,,,
g,train,mug,,/etc/passwd,
h,train,,,1.jpg,
"""
    listing = opened(tmp_path, text, classes=("mug",)).listing("train")
    assert [sample.id for sample in listing.samples] == ["a", "h"]
    reasons = {skip.where.rpartition(":")[2]: skip.reason for skip in listing.skipped}
    assert reasons.keys() == {"3", "4", "5", "6", "7", "8", "9"}
    assert reasons["3"] == "the split 'trian' is none of train, val, test"
    assert reasons["4"] == "label 'pony' is none of the 1 classes"
    assert reasons["5"].startswith("the path '../1.jpg' leads out of")
    assert reasons["6"] == "the row has 3 cells, the header 6" and "7 cells" in reasons["7"]
    assert reasons["8"] == "the row has neither an id nor a path" and "leads out" in reasons["9"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"id,rgb,depth\n\xff\xfe,a,b\n", "is no UTF-8 text"),
        ("id,rgb\na,1.jpg\n", "there is no column 'depth'. Columns: id, rgb"),
        ("id,rgb,rgb,depth\n", "names column 'rgb' more than once"),
        ("", "there is no column 'rgb'. Columns: none"),
        ('id,rgb,depth\na,"1.jpg,1.png\n', "is no CSV"),
        ("id,rgb,depth\n" + "a" * 200_000 + ",1,2\n", "is no CSV"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_message(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(tmp_path, text).listing("train")


def test_wrong_options_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.file: .*set\.csv is no file"):
        build(CsvConfig(file="set.csv"), edgefw.BuildContext(path="data", base=tmp_path))
    with pytest.raises(DataError, match=r"data\.root: .* is no folder"):
        opened(tmp_path, HEADER, root="nowhere")
    with pytest.raises(RecipeError, match=r"data\.columns: 'nir' is none of id, split, label, caption, rgb, depth"):
        opened(tmp_path, HEADER, columns={"nir": "infrared"})
    with pytest.raises(RecipeError, match=r"data\.classes: .*classes\.txt: cannot be read"):
        opened(tmp_path, HEADER, classes="classes.txt")
    with pytest.raises(DataError, match="there is no column 'name'"):
        opened(tmp_path, f"{HEADER}\n", columns={"label": "name"}).listing("train")


CELL = st.text(st.characters(blacklist_categories=("Cs",)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(CELL, min_size=6, max_size=6), max_size=6))
def test_every_row_is_a_sample_or_a_skip(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    folder = tmp_path_factory.mktemp("csv")
    with (folder / "set.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([HEADER.split(","), *([id, "train", *rest] for id, _, *rest in rows)])
    listing = opened(folder, (folder / "set.csv").read_bytes()).listing("train")
    assert len(listing.samples) + len(listing.skipped) == len(rows)
    for sample in listing.samples:
        assert sample.id and all(str(reference.path).startswith(str(folder)) for reference in sample.images.values())


@settings(max_examples=80, deadline=None)
@given(text=st.binary(max_size=60))
def test_any_bytes_give_a_listing_or_one_message(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    try:
        opened(tmp_path_factory.mktemp("csv"), b"rgb,label\n" + text, ("rgb",)).listing("train")
    except EdgefwError as error:
        assert "set.csv" in str(error)
