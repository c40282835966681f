"""Curation of a data set whose splits hold copies of each other's images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgefw.cli.main import run
from edgefw.reporting.html import write_report
from edgefw.reporting.part_curation import curation
from edgefw.reporting.run_data import read_run

TINY = Path(__file__).parents[2] / "fixtures" / "tiny_pieces"
RECIPE = """
data: {name: folder, root: data}
modalities: {rgb: {name: rgb}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk}
curate: {labels: [red, green, blue], keep: 1.0}
train: [{name: distil, scheme: {name: single-modality}, losses: [{name: feature}], steps: 1, batch: 2}]
compute: {device: cpu}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(TINY)
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2), ("test", 4)):
        for number in range(count):
            place = tmp_path / "data" / split / "red" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (8, 9, 3), np.uint8).repeat(4, 0).repeat(4, 1)).save(place)
    copy = Image.open(tmp_path / "data/train/red/3.png").resize((50, 40), Image.Resampling.BICUBIC)
    copy.save(tmp_path / "data/test/red/copy.jpg", quality=70)
    (tmp_path / "data/test/red/damaged.png").write_bytes(b"no image")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def curated(project: Path, *overrides: str) -> dict[str, object]:
    arguments = ["run", str(project / "recipe.yaml"), *overrides, "--until", "curate", "--out", str(project / "run")]
    assert run(arguments) == 0
    result: dict[str, object] = json.loads((project / "run" / "curate" / "result.json").read_text())
    return result


def test_a_copy_in_test_is_a_warning_with_the_pair(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = curated(project)["near_duplicates"]
    assert isinstance(found, dict)
    [example] = found["examples"]
    assert (example["split"], example["id"], example["train"]) == ("test", "test/red/copy.jpg", "train/red/3.png")
    assert example["distance"] <= 3 == found["distance"]
    assert found["compared"] == {"train": 6, "val": 2, "test": 5}
    assert found["val"] == found["test_like_val"] == {"images": 0, "pairs": 0}
    assert found["test"] == {"images": 1, "pairs": 1}
    message = capsys.readouterr().err
    assert (
        "warning: 1 of 5 test images look like a training image, such as 'test/red/copy.jpg' like 'train/red/3.png'"
        in message
    )


def test_a_copy_of_a_val_image_in_test_is_a_warning_of_its_own(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "data/test/red/copy.jpg").unlink()
    Image.open(project / "data/val/red/1.png").resize((50, 40), Image.Resampling.BICUBIC).save(
        project / "data/test/red/again.png"
    )
    found = curated(project)["near_duplicates"]
    assert isinstance(found, dict)
    [example] = found["examples"]
    assert {key: example[key] for key in ("split", "id", "val")} == {
        "split": "test", "id": "test/red/again.png", "val": "val/red/1.png",
    }  # fmt: skip
    assert found["val"] == found["test"] == {"images": 0, "pairs": 0}
    assert found["test_like_val"] == {"images": 1, "pairs": 1}
    message = capsys.readouterr().err
    assert "1 of 5 test images look like a val image, such as 'test/red/again.png' like 'val/red/1.png'" in message
    assert "What is chosen on val, such as a checkpoint or a threshold, was chosen on them." in message


def test_the_report_shows_every_pair_of_splits(project: Path) -> None:
    curated(project)
    part = curation(read_run(project / "run"))
    assert (
        dict(part["facts"])["near duplicates"]
        == "val like train 0 of 2 · test like train 1 of 5 · test like val 0 of 5"
    )
    [row] = part["alike"]
    assert (row["split"], row["id"], row["other"], row["like"]) == (
        "test",
        "test/red/copy.jpg",
        "train",
        "train/red/3.png",
    )
    page = write_report(project / "run").read_text()
    assert "test/red/copy.jpg" in page and "train/red/3.png" in page
    assert "1 of 5 test images look like one of train; see Curation" in page


def test_a_change_in_test_is_looked_at_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curated(project)
    (project / "data/test/red/copy.jpg").unlink()
    found = curated(project)["near_duplicates"]
    assert isinstance(found, dict) and found["examples"] == []


def test_it_can_be_left_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert curated(project, "curate.near_duplicates=null")["near_duplicates"] is None
    assert "look like a training image" not in capsys.readouterr().err
