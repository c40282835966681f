"""Writing: whole or not at all, what is broken, what is limited, and that both data sets read the result."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import miniatures
import pytest
from omegaconf import OmegaConf

import edgefw
from edgefw.cli.main import run
from edgefw.contracts.dataset import SPLITS
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry

LAYOUTS = {
    "scannet": miniatures.scannet,
    "nyu2": miniatures.nyu2,
    "sun-rgbd": miniatures.sun_rgbd,
    "eurosat": miniatures.eurosat,
}


def prepared(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run(["prepare", *map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.parametrize("layout", LAYOUTS)
def test_csv_and_paired_folder_read_the_same_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    summary = prepared(capsys, layout, LAYOUTS[layout](tmp_path / "in"), tmp_path / "out")
    sections = OmegaConf.to_container(OmegaConf.create(summary["yaml"]))
    paired = OmegaConf.create(summary["yaml"].splitlines()[1].removeprefix("# or: "))
    found = []
    for piece in (sections["data"], OmegaConf.to_container(paired)):
        technique = Registry().load(Kind.DATASET, piece.pop("name"))
        context = edgefw.BuildContext(path="data", base=tmp_path, modalities=tuple(sections["modalities"]))
        data = technique.build(technique.config(**piece), context)
        listings = {split: data.listing(split) for split in SPLITS}
        assert not any(listing.skipped for listing in listings.values())
        found.append(
            {
                sample.id: (split, sample.label, {name: image.read() for name, image in sample.images.items()})
                for split, listing in listings.items()
                for sample in listing.samples
            }
        )
    assert found[0] == found[1] and len(found[0]) == summary["samples"] > 10
    assert Counter(split for split, _, _ in found[0].values()) == Counter(
        {k: v for k, v in summary["splits"].items() if v}
    )
    assert summary["modalities"] == dict.fromkeys(sections["modalities"], summary["samples"])
    saved = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert {"layout": layout, "source": str(tmp_path / "in")} | saved == summary


def test_a_person_reads_counts_notes_and_lines_to_paste(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prepare", "eurosat", str(miniatures.eurosat(tmp_path / "in")), str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert f"{tmp_path}/out: 20 samples (" in text and "note: 20 images; the whole download has 27,000." in text
    assert (
        "Lines for a recipe:\n\ndata: {name: csv, file: " in text
        and "template: a satellite image of {a} {}" in text.replace('"', "")
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_split_is_a_note_that_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    source = LAYOUTS[layout](tmp_path / "in")
    summary = prepared(capsys, layout, source, tmp_path / "out", "val_from_train=0")
    note = (
        "no sample is in val, on which checkpoints are chosen: set another seed or a larger val_from_train (fractions, "
        "where all splits are drawn), or train with select: {by: last} in every phase."
    )
    assert summary["splits"]["val"] == 0 and summary["notes"][-1] == note
    assert json.loads((tmp_path / "out" / "prepare.json").read_text())["notes"][-1] == note
    assert run(["prepare", layout, str(source), str(tmp_path / "text"), "val_from_train=0"]) == 0
    assert f"\nnote: {note}\n" in capsys.readouterr().out


def test_every_split_that_is_empty_has_its_note_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = [(f"scene{place:04d}_00", "Gym", "train") for place in range(30)]
    source = miniatures.scannet(tmp_path / "in", scans, count=1, lists=False)
    full = prepared(capsys, "scannet", source, tmp_path / "full")
    assert all(full["splits"].values()) and not any(note.startswith("no sample") for note in full["notes"])
    only = prepared(capsys, "scannet", source, tmp_path / "test", "fractions={train: 0, val: 0, test: 1}")
    empty = [note.partition(",")[0] for note in only["notes"] if note.startswith("no sample")]
    assert empty == ["no sample is in train", "no sample is in val"]
    rest = prepared(capsys, "scannet", source, tmp_path / "rest", "fractions={train: 0.8, val: 0.2, test: 0}")
    (note,) = [note for note in rest["notes"] if note.startswith("no sample")]
    assert note.startswith("no sample is in test, ") and note.endswith("or verify with verify.split=val.")


def broken_download(root: Path) -> Path:
    source = miniatures.scannet(root / "in")
    (source / "scans/scene0000_00/depth/0.png").write_bytes(b"")
    (source / "scans/scene0000_00/depth/100.png").unlink()
    picture = source / "scans/scene0001_00/color/200.jpg"
    picture.write_bytes(picture.read_bytes()[:200])
    (source / "scans/scene0002_00/scene0002_00.txt").write_text("sceneType = Cave\n")
    return source


def test_a_broken_download_is_one_message_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = broken_download(tmp_path)
    assert run(["prepare", "scannet", str(source), str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("Error: 4 parts of the download cannot be used; nothing was written. ")
    for part in (
        "color/100.jpg: has no partner in ",
        "scene0002_00.txt: the scene type 'Cave' is none of the 21",
        "scene0000_00/depth/0.png: is empty",
        "scene0001_00/color/200.jpg: cannot be decoded",
        "leave them out with --skip-broken.",
    ):
        assert part in message
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_broken_parts_can_be_left_out_and_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = prepared(capsys, "scannet", broken_download(tmp_path), tmp_path / "out", "--skip-broken")
    assert len(summary["broken"]) == 4 and summary["samples"] == 15 - 3
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
    with (tmp_path / "out" / "samples.csv").open(newline="") as file:
        assert {row["depth"] for row in csv.DictReader(file)} == written


def test_a_limit_is_per_split_and_spread_over_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = miniatures.eurosat(tmp_path / "in", count=4)
    summary = prepared(capsys, "eurosat", source, tmp_path / "out", "val_from_train=0", "--limit", 5)
    assert summary["splits"] == {"train": 5, "val": 0, "test": 5}
    assert {sum(counts.values()) for counts in summary["labels"].values()} <= {1, 2}


def test_a_place_that_is_taken_is_refused_before_the_download_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    assert run(["prepare", "nyu2", str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 2
    assert "out: exists already and is left as it is. Give a folder that is not there yet." in capsys.readouterr().err


def test_an_unknown_layout_names_the_known_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prepare", "kitti", str(tmp_path), str(tmp_path / "out")]) == 2
    assert (
        "'kitti' is not one of 'cityscapes', 'eurosat', 'nyu2', 'scannet', 'sun-rgbd', 'vistas'"
        in capsys.readouterr().err
    )
