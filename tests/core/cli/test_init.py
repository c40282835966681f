"""`edgefw init`: layouts are told apart, the recipe fits the data, and nothing is ever overwritten."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgefw.cli.main import run
from edgefw.contracts.dataset import Listing
from edgefw.recipe.read import Recipe, read_recipe, validate
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry
from edgefw.registry.technique import BuildContext

Started = Callable[..., Recipe]


def encoded(values: np.ndarray, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format)
    return buffer.getvalue()


PHOTO = encoded(np.full((24, 24, 3), 90, np.uint8), "JPEG")
DEPTH = encoded(np.full((24, 24), 900, np.uint16), "PNG")


def put(root: Path, names: Iterable[str]) -> None:
    """Files by relative path: photographs, and depth maps where the path says so."""
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(DEPTH if "depth" in name else PHOTO)


def shard(file: Path, samples: int, members: dict[str, bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for index in range(samples):
            for ending, content in members.items():
                info = tarfile.TarInfo(f"{file.stem}-{index:04d}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Started:
    """`started(*options)` writes recipe `mine` for `data/` and reads it."""
    monkeypatch.chdir(tmp_path)

    def start(*options: str) -> Recipe:
        assert run(["init", "--data", "data", "--name", "mine", *options]) == 0, capsys.readouterr().err
        return read_recipe("mine.yaml")

    return start


def listings(recipe: Recipe, cache: Path) -> dict[str, Listing]:
    """What the recipe's data set lists."""
    technique = Registry().load(Kind.DATASET, recipe.config.data.name)
    config = validate(technique.config, recipe.config.data.options)
    context = BuildContext(path="data", base=recipe.base, cache=cache, modalities=tuple(recipe.config.modalities))
    dataset = technique.build(config, context)
    return {split: dataset.listing(split) for split in ("train", "val", "test")}


def counts(recipe: Recipe, cache: Path) -> list[int]:
    return [len(listing.samples) for listing in listings(recipe, cache).values()]


def test_photographs_in_class_folders_have_labels_and_drawn_splits(started: Started, tmp_path: Path) -> None:
    put(tmp_path / "data", [f"{label}/{index}.jpg" for label in ("cat", "dog") for index in range(60)])
    recipe = started()
    assert recipe.config.data.model_dump() == {"name": "folder", "root": "data"}
    train, val, test = counts(recipe, tmp_path)
    assert train + val + test == 120 and min(val, test) > 0
    assert {sample.label for sample in listings(recipe, tmp_path)["train"].samples} == {"cat", "dog"}
    assert recipe.config.train[0].scheme.name == "single-modality"
    assert recipe.config.train[0].batch == 16


def test_a_train_folder_alone_gets_a_validation_share_and_is_verified_on_it(started: Started, tmp_path: Path) -> None:
    put(tmp_path / "data", [f"train/cat/{index}.jpg" for index in range(100)])
    recipe = started()
    train, val, test = counts(recipe, tmp_path)
    assert train + val == 100 and val > 0 and test == 0
    assert recipe.config.verify.split == "val"


def test_unlabelled_photographs_take_the_names_that_are_given(started: Started, tmp_path: Path) -> None:
    put(tmp_path / "data", [f"{index}.jpg" for index in range(30)])
    recipe = started("--labels", "cat, dog")
    assert recipe.config.curate is not None and recipe.config.curate.labels == ["cat", "dog"]
    assert recipe.config.evaluate.labels == ["cat", "dog"]


def test_labels_may_be_a_file(started: Started, tmp_path: Path) -> None:
    put(tmp_path / "data", ["1.jpg", "2.jpg"])
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    assert started("--labels", "names.txt").config.evaluate.labels == "names.txt"


@pytest.mark.parametrize("splits", [False, True])
def test_depth_beside_photographs_is_paired_in_a_table(started: Started, tmp_path: Path, splits: bool) -> None:
    for split, numbers in (
        (("train", range(8)), ("val", range(2)), ("test", range(2))) if splits else (("", range(40)),)
    ):
        put(tmp_path / "data" / split, [f"color/{n}.jpg" for n in numbers] + [f"depth/{n}.png" for n in numbers if n])
    recipe = started()
    assert recipe.config.data.name == "csv"
    assert list(recipe.config.modalities) == ["rgb", "depth"]
    assert recipe.config.train[0].scheme.name == "dual-modality"
    found = listings(recipe, tmp_path)
    assert sum(len(listing.samples) for listing in found.values()) == (12 if splits else 40)
    samples = {sample.id: sample for listing in found.values() for sample in listing.samples}
    assert set(samples["train-1" if splits else "1"].images) == {"rgb", "depth"}
    assert set(samples["train-0" if splits else "0"].images) == {"rgb"}
    with (tmp_path / "mine.csv").open() as stream:
        assert next(csv.reader(stream)) == (["id", "split", "rgb", "depth"] if splits else ["id", "rgb", "depth"])


def test_a_table_is_read_with_its_own_column_names(started: Started, tmp_path: Path) -> None:
    put(tmp_path / "data", [f"a/{n}.jpg" for n in range(4)] + [f"b/depth{n}.png" for n in range(4)])
    rows = ["split,category,colour file,depth_map"]
    rows += [f"{split},cat,a/{n}.jpg,b/depth{n}.png" for n, split in enumerate(["train", "train", "val", "test"])]
    (tmp_path / "data" / "scenes.csv").write_text("\n".join(rows) + "\n")
    recipe = started()
    assert recipe.config.data.options["columns"] == {
        "rgb": "colour file",
        "depth": "depth_map",
        "label": "category",
    }
    assert counts(recipe, tmp_path) == [2, 1, 1]
    assert listings(recipe, tmp_path)["val"].samples[0].label == "cat"


def test_shards_give_members_label_and_classes(started: Started, tmp_path: Path) -> None:
    about = json.dumps({"class": "cat"}).encode()
    members = {"depth.png": DEPTH, "jpg": PHOTO, "json": about}
    for number in range(3):
        shard(tmp_path / "data" / f"train-{number:03d}.tar", 5, members)
    shard(tmp_path / "data" / "test-000.tar", 2, members)
    (tmp_path / "data" / "classes.txt").write_text("cat\ndog\n")
    recipe = started()
    assert recipe.config.data.options == {
        "root": "data",
        "shards": {"train": "train-{000..001}.tar", "val": "train-002.tar", "test": "test-000.tar"},
        "members": {"rgb": "jpg", "depth": "depth.png"},
        "label": "json:class",
        "classes": "classes.txt",
    }
    assert counts(recipe, tmp_path) == [10, 5, 2]


@pytest.mark.parametrize(
    ("names", "fragment"),
    [
        ([], "no images, shards (.tar) or table (.csv) in it"),
        (["readme.md"], "no images, shards (.tar) or table (.csv) in it"),
        (["train-0.tar"], "one shard for training and none for validation"),
        (["val-0.tar", "val-1.tar"], "no shard has 'train' in its name"),
        (["train-0.tar", "train-1.tar"], "cannot be read as a tar file"),
    ],
)
def test_data_that_is_not_understood_is_refused(
    tmp_path: Path, monkeypatch, capsys, names: list[str], fragment: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    put(tmp_path / "data", names)
    assert run(["init", "--data", "data", "--name", "mine"]) == 2
    assert fragment in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_nothing_is_overwritten_and_names_are_checked(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "data", ["1.jpg"])
    for name, fragment in (("taken", "taken.yaml exists already"), ("../up", "must be lower-case letters")):
        (tmp_path / "taken.yaml").write_text("mine\n")
        assert run(["init", "--data", "data", "--name", name]) == 2
        assert fragment in capsys.readouterr().err
    assert (tmp_path / "taken.yaml").read_text() == "mine\n"
    assert run(["init", "--data", "nowhere"]) == 2
    assert "nowhere: this is no folder." in capsys.readouterr().err
    assert run(["init", "--data", "~no_such_user/x"]) == 2
    assert "this is no folder" in capsys.readouterr().err
    assert run(["init", "--data", "data", "--labels", "no.txt", "--name", "x"]) == 2
    assert "--labels: no.txt: no such file" in capsys.readouterr().err


def test_without_options_and_without_a_terminal_it_says_what_to_give(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgefw", "init"],
        check=False,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "give --data DIR; there is nobody to ask" in done.stderr


def test_without_options_it_asks(tmp_path: Path) -> None:
    put(tmp_path / "my photos", [f"{n}.jpg" for n in range(9)])
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edgefw", "init"], cwd=tmp_path, stdin=inside, stdout=inside, stderr=inside
    )
    os.close(inside)
    os.write(terminal, b"my photos\n\ncat,dog\nRN50:openai\n")
    assert process.wait(timeout=60) == 0
    os.close(terminal)
    recipe = read_recipe(str(tmp_path / "my-photos.yaml"))
    assert recipe.config.data.options == {"root": "my photos"}
    assert recipe.config.teacher.options == {"model": "RN50", "weights": "openai"}
    assert recipe.config.curate is not None


@pytest.mark.slow  # imports open_clip and timm
def test_check_accepts_what_was_written(started: Started, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edgefw.recipe.shipped import asset

    put(tmp_path / "data", [f"rgb/{n}.jpg" for n in range(60)] + [f"depth/{n}.png" for n in range(60)])
    started("--teacher", f"local-dir:{asset('quickstart-teacher')}", "--labels", "ball,cone")
    assert run(["check", "mine.yaml", "student.size=64"]) == 0, capsys.readouterr().err
    text = capsys.readouterr().out
    assert "phase distil" in text and "onnxruntime-int8-latency-aware" in text
