"""Every layout on its miniature: what is written, in which split, with which label and numbers."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import miniatures
import numpy as np
import pytest
from PIL import Image

from edgefw.data.splits import hashed_place
from edgefw.errors import DataError, RecipeError
from edgefw.labels.names import prompts
from edgefw.preparing.download import Download
from edgefw.preparing.eurosat import BANDS, CLASSES, rgb_of_bands
from edgefw.preparing.layouts import LAYOUTS, layout_options, load_layout
from edgefw.preparing.prepare import prepare
from edgefw.reporting.progress import SilentProgress


def found(layout: str, source: Path, *options: str) -> Download:
    return load_layout(layout).read(source, layout_options(layout, options))


def written(layout: str, source: Path, dest: Path, *options: str, **more: Any) -> list[dict[str, str]]:
    prepare(found(layout, source, *options), dest, SilentProgress(), **more)
    with (dest / "samples.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pixels(dest: Path, path: str) -> np.ndarray:
    return np.asarray(Image.open(dest / path))


def test_scannet_takes_every_hundredth_frame_of_every_labelled_scan(tmp_path: Path) -> None:
    rows = written("scannet", miniatures.scannet(tmp_path / "in"), tmp_path / "out", "val_from_train=0")
    assert [row["id"] for row in rows[:3]] == [f"train/scene0000_00/{number}" for number in (0, 100, 200)]
    labels = {row["id"].split("/")[1]: (row["split"], row["label"]) for row in rows}
    assert labels == {
        "scene0000_00": ("train", "kitchen"),
        "scene0000_01": ("train", "kitchen"),
        "scene0001_00": ("train", "bedroom/hotel"),
        "scene0002_00": ("test", "computer cluster"),
        "scene0003_00": ("test", "misc"),
    }
    depth, rgb = pixels(tmp_path / "out", rows[4]["depth"]), pixels(tmp_path / "out", rows[4]["rgb"])
    original = pixels(tmp_path / "in", "scans/scene0000_01/depth/100.png")
    np.testing.assert_array_equal(depth, original)
    assert depth.dtype == np.uint16 and rgb.shape == (24, 32, 3)
    assert len((tmp_path / "out" / "classes.txt").read_text().splitlines()) == 21


def test_scannet_keeps_the_official_splits_or_draws_whole_places(tmp_path: Path) -> None:
    source = miniatures.scannet(tmp_path / "in")
    as_listed = found("scannet", source, "official_val=val", "every=50", "rgb=original")
    assert Counter(item.split for item in as_listed.items) == {"train": 18, "val": 12, "test": 6}
    assert {item.label for item in as_listed.items if item.split == "test"} == {None}
    usual = found("scannet", source)
    assert usual.left_out == {"the official test scenes have no scene type": 3}
    assert usual.notes == ["3 train scans; the whole download has 1,201.", "2 val scans; the whole download has 312.", "1 test scans; the whole download has 100."]  # fmt: skip
    scans = [(f"scene{place:04d}_0{scan}", "Gym", "train") for place in range(30) for scan in (0, 1)]
    drawn = found("scannet", miniatures.scannet(tmp_path / "many", scans, count=1, lists=False))
    splits: dict[str, set[str]] = {}
    for item in drawn.items:
        splits.setdefault(item.name[:9], set()).add(item.split)
    assert all(len(of_place) == 1 for of_place in splits.values()) and len(splits) == 30
    assert Counter(split for of_place in splits.values() for split in of_place)["train"] > 15


def test_val_is_drawn_from_the_train_places_by_their_hash(tmp_path: Path) -> None:
    scans = [(f"scene{place:04d}_00", "Gym", "train") for place in range(40)]
    items = found("scannet", miniatures.scannet(tmp_path, scans, count=1), "val_from_train=0.3", "seed=2").items
    expected = {f"scene{place:04d}" for place in range(40) if hashed_place(f"scene{place:04d}", 2) < 0.3}
    assert {item.name[:9] for item in items if item.split == "val"} == expected


def test_nyu2_reads_matlabs_axes_metres_and_numbers(tmp_path: Path) -> None:
    import h5py

    source = miniatures.nyu2(tmp_path / "in")
    rows = written("nyu2", source / "nyu_depth_v2_labeled.mat", tmp_path / "out", "val_from_train=0")
    assert [(row["id"], row["label"]) for row in rows[3:5]] == [
        ("test/0004", "kitchen"),
        ("train/0005", "exercise room"),
    ]
    with h5py.File(source / "nyu_depth_v2_labeled.mat") as file:
        rgb, metres = file["images"][4], file["depths"][4]
    np.testing.assert_array_equal(pixels(tmp_path / "out", rows[4]["rgb"]), rgb.transpose(2, 1, 0))
    np.testing.assert_allclose(pixels(tmp_path / "out", rows[4]["depth"]), metres.T * 1000, atol=0.51)
    assert Counter(row["split"] for row in rows) == {"train": 9, "test": 3}


def test_nyu2_has_ten_classes_raw_depth_and_drawn_splits(tmp_path: Path) -> None:
    source = miniatures.nyu2(tmp_path / "in", splits=False)
    download = found("nyu2", source, "classes=10", "depth=raw")
    assert {item.label for item in download.items} == {"kitchen", "living room", "others"}
    assert (
        len(download.classes) == 10 and download.notes[0] == "no splits.mat was found: the splits were drawn by scene."
    )
    download.items[0].images["depth"].write(tmp_path / "raw.png")
    assert (pixels(tmp_path, "raw.png") == 0).any()


def test_nyu2_reads_an_exported_folder(tmp_path: Path) -> None:
    rows = written("nyu2", miniatures.nyu2_folder(tmp_path / "in"), tmp_path / "out", "val_from_train=0")
    assert Counter((row["split"], row["label"]) for row in rows)["test", "home office"] == 3
    assert rows[0]["id"] == "train/0000" and len(rows) == 18


def test_sun_rgbd_keeps_the_usual_classes_and_turns_depth_into_millimetres(tmp_path: Path) -> None:
    source = miniatures.sun_rgbd(tmp_path / "in")
    download = found("sun-rgbd", source, "val_from_train=0")
    assert download.left_out == {"the scene type is none of the 19": 4} and len(download.classes) == 19
    rows = written("sun-rgbd", source, tmp_path / "out", "val_from_train=0")
    assert Counter((row["split"], row["label"]) for row in rows) == {
        (split, label): count
        for split, count in (("train", 3), ("test", 1))
        for label in ("bathroom", "computer room", "library")
    }
    row = next(row for row in rows if row["id"].startswith("train/SUNRGBD/kv2"))
    folder = tmp_path / "in" / row["id"].removeprefix("train/")
    [stored] = [np.asarray(Image.open(path)) for path in (folder / "depth_bfx").iterdir()]
    depth = pixels(tmp_path / "out", row["depth"])
    np.testing.assert_array_equal(miniatures.rotated(depth), stored)
    assert depth.max() < 6001


def test_sun_rgbd_stops_at_eight_metres_and_knows_every_scene_type(tmp_path: Path) -> None:
    source = miniatures.sun_rgbd(tmp_path / "in", splits=False)
    download = found("sun-rgbd", source, "classes=all", "depth=raw")
    assert download.classes == ("bathroom", "computer room", "library", "music room") and len(download.items) == 16
    file = Path(download.items[0].images["depth"].where)
    miniatures.save(file, miniatures.rotated(np.array([[500, 7999, 8001, 20000]], np.uint16)))
    download.items[0].images["depth"].write(tmp_path / "depth.png")
    assert pixels(tmp_path, "depth.png").tolist() == [[500, 7999, 8000, 8000]]


def test_eurosat_is_split_by_class_with_the_twelfth_band_beside_rgb(tmp_path: Path) -> None:
    import tifffile

    rows = written("eurosat", miniatures.eurosat(tmp_path / "in"), tmp_path / "out", "val_from_train=0")
    trained = {row["label"] for row in rows if row["split"] == "train"}
    assert trained == {"forest", "herbaceous vegetation", "industrial", "river", "sea lake"}
    assert {row["label"] for row in rows if row["split"] == "test"} == set(CLASSES.values()) - trained
    name = rows[0]["id"].removeprefix("test/")
    band = tifffile.imread(tmp_path / "in" / "EuroSAT_MS" / f"{name}.tif")[:, :, 11]
    np.testing.assert_array_equal(pixels(tmp_path / "out", rows[0]["swir"]), band)
    released = (tmp_path / "in" / "EuroSAT_RGB" / f"{name}.jpg").read_bytes()
    assert (tmp_path / "out" / rows[0]["rgb"]).read_bytes() == released


def test_eurosat_makes_rgb_from_bands_and_keeps_all_thirteen(tmp_path: Path) -> None:
    source = miniatures.eurosat(tmp_path / "in", jpg=False)
    rows = written("eurosat", source, tmp_path / "out", "second=bands", "split=sample")
    assert {row["split"] for row in rows} >= {"train"} and len(rows) == 20
    name = rows[0]["id"].partition("/")[2]
    assert (tmp_path / "out" / rows[0]["swir"]).read_bytes() == (source / "EuroSAT_MS" / f"{name}.tif").read_bytes()
    values = np.zeros((2, 2, 13), np.uint16)
    values[0, 0, [BANDS.index(band) for band in ("B04", "B03", "B02")]] = (0, 1375, 2750)
    values[1, 1, 3] = 60000
    miniatures.geotiff(tmp_path / "scale.tif", values)
    assert rgb_of_bands(tmp_path / "scale.tif")[[0, 1], [0, 1]].tolist() == [[1, 128, 255], [255, 1, 1]]


def test_eurosat_reads_rgb_alone(tmp_path: Path) -> None:
    source = miniatures.eurosat(tmp_path / "in", tif=False)
    download = found("eurosat", source, "second=none")
    assert list(download.modalities) == ["rgb"] and len(download.items) == 20
    with pytest.raises(
        DataError, match=r"holds \.jpg files only, no 13-band \.tif\. Get EuroSAT_MS, or give second=none\."
    ):
        found("eurosat", source)


def test_every_class_name_gets_its_article(tmp_path: Path) -> None:
    named_an: dict[str, set[str]] = {}
    for layout in LAYOUTS:
        download = found(layout, getattr(miniatures, layout.replace("-", "_"))(tmp_path / layout))
        sentences = prompts(download.classes, download.template)
        for name, sentence in zip(download.classes, sentences):
            assert sentence.endswith((f" a {name}", f" an {name}"))
        named_an[layout] = {name for name, text in zip(download.classes, sentences) if text.endswith(f" an {name}")}
    assert named_an == {
        "scannet": {"apartment", "office"},
        "nyu2": {"exercise room", "indoor balcony", "office", "office kitchen"},
        "sun-rgbd": {"office"},
        "eurosat": {"annual crop", "industrial"},
        "cityscapes": set(),
        "vistas": set(),
    }
    satellite = found("eurosat", tmp_path / "eurosat")
    assert prompts(["annual crop"], satellite.template) == ["a satellite image of an annual crop"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_something_else_is_one_message(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DataError, match=r"there is no |neither nyu_depth_v2_labeled\.mat"):
        found(layout, tmp_path)


def test_scans_without_exported_frames_say_how_to_export_them(tmp_path: Path) -> None:
    source = miniatures.scannet(tmp_path)
    for folder in [*source.rglob("color"), *source.rglob("depth")]:
        shutil.rmtree(folder)
    with pytest.raises(DataError, match=r"has neither color nor depth\. Export the frames of the \.sens files first"):
        found("scannet", source)


def test_damaged_matlab_files_are_one_message(tmp_path: Path) -> None:
    source = miniatures.nyu2(tmp_path)
    (source / "splits.mat").write_bytes(b"no" * 100)
    with pytest.raises(DataError, match=r"splits\.mat: is no MATLAB file that scipy reads"):
        found("nyu2", source)
    mat = source / "nyu_depth_v2_labeled.mat"
    mat.write_bytes(mat.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"labeled\.mat: is no whole HDF5 file .* Download it again\."):
        found("nyu2", source)


@pytest.mark.parametrize(
    ("layout", "option", "text"),
    [
        ("nyu2", "classes=12", r"layout 'nyu2', option classes: Input should be 27 or 10, got 12\."),
        ("scannet", "evry=5", r"layout 'scannet' has no option 'evry'\. Options: every, rgb, splits, official_val"),
        ("eurosat", "fractions.train=1", r"option 'fractions\.train=1': options of a layout have no inner keys\."),
        ("eurosat", "second", r"override 'second': not of the form key=value"),
    ],
)
def test_a_wrong_option_is_one_message(layout: str, option: str, text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        layout_options(layout, (option,))


def test_named_split_files_must_be_there(tmp_path: Path) -> None:
    source = miniatures.scannet(tmp_path / "in")
    with pytest.raises(DataError, match=r"there is no scannetv2_train\.txt, scannetv2_val\.txt or"):
        found("scannet", source, f"splits={tmp_path}")
    nyu, sun = miniatures.nyu2(tmp_path / "nyu"), miniatures.sun_rgbd(tmp_path / "sun")
    for layout, source, names in (("nyu2", nyu, "trainNdxs and testNdxs"), ("sun-rgbd", sun, "alltrain and alltest")):
        advice = rf"Give the path of a MATLAB file that holds {names}\.$"
        with pytest.raises(DataError, match=rf"/no\.mat: no such file\. {advice}"):
            found(layout, source, f"splits={tmp_path}/no.mat")
        with pytest.raises(DataError, match=rf"/in: is no file\. {advice}"):
            found(layout, source, f"splits={source.parent}/in")
