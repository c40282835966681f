"""Masks become labels: Cityscapes and Mapillary Vistas on their miniatures, and the rule of presence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import miniatures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgefw.cli.main import run
from edgefw.errors import DataError
from edgefw.preparing.download import Unreadable
from edgefw.preparing.layouts import layout_options, load_layout
from edgefw.preparing.masks import classes_shown
from edgefw.preparing.prepare import prepare
from edgefw.reporting.progress import SilentProgress


def labels_of(layout: str, source: Path, dest: Path, *options: str) -> dict[str, str]:
    """Image path -> its labels, as labels.csv has them."""
    found = load_layout(layout).read(source, layout_options(layout, options))
    prepare(found, dest, SilentProgress())
    with (dest / "labels.csv").open(newline="") as file:
        return {row["image"]: row["labels"] for row in csv.DictReader(file)}


def test_cityscapes_names_the_classes_of_every_mask(tmp_path: Path) -> None:
    source = miniatures.cityscapes(tmp_path / "in")
    found = labels_of("cityscapes", source, tmp_path / "out", "val_from_train=0")
    assert found == {
        "rgb/train/aachen/aachen_000000_000019.png": "road;car",
        "rgb/train/aachen/aachen_000001_000019.png": "road;person",
        "rgb/train/ulm/ulm_000000_000019.png": "sky;person",
        "rgb/test/lindau/lindau_000000_000019.png": "road;sky;car;bicycle",
    }
    assert all((tmp_path / "out" / path).is_file() for path in found)
    more = labels_of("cityscapes", source, tmp_path / "more", "val_from_train=0", "classes=28")
    assert more["rgb/train/aachen/aachen_000001_000019.png"] == "road;person;caravan"


@pytest.mark.parametrize("release", ["v2.0", "v1.2", "plain"])
def test_vistas_reads_the_palette_and_leaves_out_what_is_not_evaluated(tmp_path: Path, release: str) -> None:
    source = miniatures.vistas(tmp_path / "in", release)
    found = labels_of("vistas", source, tmp_path / "out", "val_from_train=0")
    assert found == {
        "rgb/train/a.jpg": "bird;car",
        "rgb/train/b.jpg": "ground animal",
        "rgb/test/c.jpg": "bird;ground animal;car",
    }


def test_the_command_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = miniatures.cityscapes(tmp_path / "in")
    assert run(["prepare", "cityscapes", str(source), str(tmp_path / "out"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert sum(summary["labels"]["road"].values()) == 3
    assert summary["left_out"] == {"the official test images have no masks": 1}
    assert "2,975" in summary["notes"][0]


def test_an_image_without_a_mask_refuses_the_download(tmp_path: Path) -> None:
    source = miniatures.cityscapes(tmp_path / "in")
    (source / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png").unlink()
    found = load_layout("cityscapes").read(source, layout_options("cityscapes", ()))
    with pytest.raises(DataError, match="lindau_000000_000019_leftImg8bit.png: has no mask"):
        prepare(found, tmp_path / "out", SilentProgress())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"x"), "cannot be decoded"),
        (lambda path: Image.new("RGB", (4, 4)).save(path), "is no mask of class numbers"),
    ],
)
def test_a_file_that_is_no_mask_is_told(tmp_path: Path, make, text: str) -> None:
    make(tmp_path / "mask.png")
    with pytest.raises(Unreadable, match=text):
        classes_shown(tmp_path / "mask.png", {1: "car"}, 0.1)


def test_places_without_the_download_are_one_message(tmp_path: Path) -> None:
    for layout, text in (("cityscapes", "no image leftImg8bit"), ("vistas", "no config_v2.0.json, config_v1.2.json")):
        with pytest.raises(DataError, match=text):
            load_layout(layout).read(tmp_path, layout_options(layout, ()))
    (tmp_path / "config.json").write_text('{"labels": [{"readable": 3, "evaluate": false}]}')
    with pytest.raises(DataError, match="names no class"):
        load_layout("vistas").read(tmp_path, layout_options("vistas", ()))
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(DataError, match="is no configuration of Vistas"):
        load_layout("vistas").read(tmp_path, layout_options("vistas", ()))


@given(
    values=st.lists(st.integers(0, 5), min_size=6, max_size=30),
    share=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
)
def test_a_class_is_shown_if_it_covers_its_share(tmp_path_factory: pytest.TempPathFactory, values, share) -> None:
    path = tmp_path_factory.mktemp("mask") / "m.png"
    Image.fromarray(np.array([values], np.uint8)).save(path)
    names = {0: "sky", 1: "car", 2: "tree", 4: "car"}
    expected = []
    for name in ("sky", "car", "tree"):
        covered = sum(names.get(value) == name for value in values)
        if covered >= 1 and covered >= share * len(values):
            expected.append(name)
    assert classes_shown(path, names, share) == expected
