"""Images that show several labels: the table, and the AUC of a pack against scikit-learn's."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from edgefw.cli.main import run
from edgefw.errors import DataError
from edgefw.labels.examples import embed_files
from edgefw.labels.folders import plain_name
from edgefw.labels.label_sets import read_label_sets
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.label_pack import write_pack

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters=";"), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, small_bundle) -> Path:
    return small_bundle.write_small_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, small_bundle) -> Path:
    return small_bundle.write_pictures(tmp_path_factory.mktemp("scenes") / "pictures", each=6)


def table(folder: Path, rows: list[tuple[str, str]], header: str = "image,labels") -> Path:
    file = folder / "labels.csv"
    with file.open("w", newline="") as opened:
        opened.write(header + "\n")
        csv.writer(opened).writerows(rows)
    return file


def drawn(pictures: Path) -> list[tuple[str, str]]:
    """Every picture with a random set of labels; the last is one that the pack lacks."""
    draw, names = np.random.default_rng(2), ["red", "Green", "blue", "zebra"]
    found = []
    for path in sorted(pictures.rglob("*.png")):
        found.append((f"pictures/{path.relative_to(pictures)}", ";".join(n for n in names if draw.random() < 0.4)))
    return found


def test_the_auc_of_every_label_is_scikit_learns(bundle: Path, pictures: Path, capsys) -> None:
    rows = drawn(pictures)
    file = table(pictures.parent, rows)
    assert run(["labels", "eval", str(bundle), str(pictures), "--truth", str(file), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["results"][0]
    with open_bundle(bundle) as opened:
        pack = opened.label_pack()
        paths = [pictures.parent / image for image, _ in rows]
        kept, embeddings, _ = embed_files(opened, "rgb", paths)
        scores = pack.cosines(embeddings.astype(np.float32))
    assert kept == paths
    for column, name in enumerate(pack.names):
        truth = [name in labels.lower().split(";") for _, labels in rows]
        assert result["auc"][name] == pytest.approx(roc_auc_score(truth, scores[:, column]), abs=1e-12)
        assert result["images"][name] == sum(truth)
    assert result["macro_auc"] == pytest.approx(np.mean(list(result["auc"].values())))
    assert result["n"] == len(rows) and result["not_in_pack"] == ["zebra"]


def test_labels_that_differ_by_capitals_alone_have_an_auc_each(bundle: Path, pictures: Path, tmp_path, capsys) -> None:
    file = table(pictures.parent, drawn(pictures))
    with open_bundle(bundle) as opened:
        pack = opened.label_pack()
    red = pack.labels[0]
    write_pack(replace(pack, labels=[red, replace(red, name="RED"), *pack.labels[1:]]), tmp_path / "p.json")
    arguments = ["labels", "eval", str(bundle), str(pictures), "--truth", str(file), "--pack", str(tmp_path / "p.json")]
    assert run([*arguments, "--json"]) == 0
    auc = json.loads(capsys.readouterr().out)["results"][0]["auc"]
    assert list(auc) == ["red", "RED", "green", "blue"] and auc["red"] == auc["RED"]


def test_the_table_is_printed_and_a_label_of_no_image_has_no_auc(bundle: Path, pictures: Path, capsys) -> None:
    rows = [(image, labels.replace("red", "")) for image, labels in drawn(pictures)]
    file = table(pictures.parent, rows)
    assert run(["labels", "eval", str(bundle), str(pictures), "--truth", str(file)]) == 0
    out = capsys.readouterr().out
    assert "mean AUC 0." in out and any(line.split()[:2] == ["red", "-"] for line in out.splitlines())


def test_only_images_below_the_folder_count_and_unreadable_ones_are_counted(bundle, pictures, capsys) -> None:
    file = table(pictures.parent, [*drawn(pictures), ("pictures/gone.png", "red"), ("elsewhere/1.png", "red")])
    assert run(["labels", "eval", str(bundle), str(pictures), "--truth", str(file), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["results"][0]
    assert (result["n"], result["unreadable"]) == (len(drawn(pictures)), 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\n1.png,red\n", "there is no column 'labels'"),
        ("image,labels\n", "names no image"),
        ("image,labels\n1.png\n", ":2: is no image and its labels"),
        ("image,labels\n1.png,red,blue\n", ":2: is no image and its labels"),
        ("image,labels\n1.png,red\n1.png,blue\n", ":3: '1.png' occurs twice"),
        ("image,labels\nelse/1.png,red\n", "names no image below"),
        ("image,labels\npictures/1.png,zebra\n", "holds none of the pack's labels .red, "),
        ("image,labels\npictures/1.png,red\n", "none of 1 images can be read"),
    ],
)
def test_a_wrong_table_is_one_message(bundle, pictures, tmp_path: Path, capsys, text: str, message: str) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "labels.csv").write_text(text)
    arguments = ["labels", "eval", str(bundle), str(tmp_path / "pictures"), "--truth", str(tmp_path / "labels.csv")]
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("Error: ") == 1 and "Traceback" not in error
    assert re.search(message, error), error


def test_a_table_that_is_not_there_or_no_text_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read .No such file"):
        read_label_sets(tmp_path / "no.csv")
    (tmp_path / "t.csv").write_bytes("image,labels\ncafé.png,red\n".encode("latin-1"))
    with pytest.raises(DataError, match="is no UTF-8 text"):
        read_label_sets(tmp_path / "t.csv")


@given(st.dictionaries(TEXT.filter(str.strip), st.lists(TEXT, max_size=4), min_size=1, max_size=5))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, list[str]]) -> None:
    folder = tmp_path_factory.mktemp("table")
    file = table(folder, [(image, ";".join(labels)) for image, labels in rows.items()])
    expected = {}
    for image, labels in rows.items():
        expected[folder / image] = frozenset(plain_name(name) for name in labels if name.strip())
    if len(expected) == len(rows):
        assert read_label_sets(file) == expected
