"""Wrong data sets through the command line: one message, or skips that are counted and listed; never a traceback."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from pyarrow import parquet

from edgefw.cli.main import run

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
RNG = np.random.default_rng(0)
FOLDER = {"name": "folder", "root": "data"}
CSV = {"name": "csv", "file": "data/set.csv"}
SHARDS = {"name": "webdataset", "root": "data", "shards": {"train": "*.tar"}, "members": {"rgb": "jpg"}}
PAIRS = {"name": "paired-folder", "root": "data", "labels": "labels.txt"}
RGB = {"rgb": {"name": "rgb"}}
RGBD = {**RGB, "depth": {"name": "depth"}}
GOOD = ("train/cat/a.jpg", "train/cat/b.jpg", "train/dog/c.jpg")


def encoded(values: np.ndarray, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format)
    return buffer.getvalue()


JPEG = encoded(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8), "JPEG")
DEPTH = encoded(RNG.integers(500, 5000, (40, 40)).astype(np.uint16), "PNG")
GREY = encoded(np.full((40, 40), 90, np.uint8), "PNG")


def write(root: Path, files: dict[str, bytes | str]) -> None:
    for name, content in files.items():
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def photos(**more: bytes | str) -> Callable[[Path], None]:
    """Three good photographs, and `train/cat/NAME` for the others (two underscores stand for a dot)."""
    others = {f"train/cat/{name.replace('__', '.')}": content for name, content in more.items()}
    return lambda root: write(root, {name: JPEG for name in GOOD} | others)


def table(text: str | bytes, **more: bytes) -> Callable[[Path], None]:
    files = {name.replace("__", "."): content for name, content in more.items()}
    return lambda root: write(
        root, {"set.csv": text, "1.jpg": JPEG, "2.jpg": JPEG, "1.png": DEPTH, "2.png": DEPTH} | files
    )


def labelled(text: str) -> Callable[[Path], None]:
    """Two good photographs, and their label file."""
    return lambda root: write(root, {"rgb/train/1.jpg": JPEG, "rgb/train/2.jpg": JPEG, "labels.txt": text})


def shard(members: dict[str, bytes], cut: int | None = None) -> Callable[[Path], None]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return lambda root: write(root, {"s.tar": buffer.getvalue()[:cut]})


def unreadable(root: Path) -> None:
    photos()(root)
    (root / "data/train/cat").chmod(0)


@dataclass(frozen=True)
class Case:
    """What is wrong, how it is made, and either the message or {id: reason} of the skips beside the kept ids."""

    name: str
    make: Callable[[Path], None]
    data: dict[str, Any] = field(default_factory=lambda: FOLDER)
    modalities: dict[str, Any] = field(default_factory=lambda: RGB)
    error: str = ""
    skips: dict[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = GOOD


def skipped(name: str, reason: str, **content: bytes | str) -> Case:
    ids = [f"train/cat/{key.replace('__', '.')}" for key in content]
    return Case(name, photos(**content), skips=dict.fromkeys(ids, reason))


CASES = [
    skipped("a JPEG cut off in the middle", "cannot be decoded", x__jpg=JPEG[: len(JPEG) // 2]),
    skipped("a file of zero bytes", "the file is empty", x__jpg=b""),
    skipped("a file of noise", "no image format that Pillow knows", x__jpg=b"\x00\x01" * 500),
    skipped("a text file renamed .jpg", "no image format that Pillow knows", x__jpg="these are notes"),
    skipped("a JPEG header and nothing else", "no image format|cannot be decoded", x__jpg=JPEG[:20]),
    skipped("a file that is no image", "the ending '.pdf' is none of extensions", x__pdf=b"%PDF"),
    skipped("wrong channels: a float TIFF as photograph", "no photograph",
            x__tif=encoded(np.ones((9, 9), np.float32), "TIFF")),
    Case("a photograph beside the class folders", lambda root: (photos()(root), write(root, {"train/x.jpg": JPEG})),
         skips={"train/x.jpg": "lies outside of the class folders"}),
    Case("no such folder", lambda root: None, error="data.root: .*data is no folder"),
    Case("an empty folder", lambda root: (root / "data").mkdir(), error="split 'train' is empty"),
    Case("an empty split", lambda root: write(root, {"test/cat/1.jpg": JPEG}), error="split 'train' is empty"),
    Case("an unreadable folder", unreadable, error="cat: the folder cannot be read .Permission denied"),
    Case("nothing but broken images", lambda root: write(root, {"train/cat/1.jpg": b"", "train/cat/2.jpg": b"x"}),
         error="none of its 2 samples can be used. The first one, .*1.jpg: the file is empty"),
    Case("a modality that no sample has", photos(), modalities=RGBD, error="no sample has an image of modality depth"),
    Case("duplicate ids", table("id,split,rgb\na,train,1.jpg\na,train,2.jpg\n"), CSV,
         error="1 sample ids occur more than once, among them 'a'"),
    Case("a missing column", table("id,split,image\na,train,1.jpg\n"), CSV, error="there is no column 'rgb'"),
    Case("a CSV that is not UTF-8", table("id,rgb\ncafé,1.jpg\n".encode("latin-1")), CSV, error="is no UTF-8 text"),
    Case("rows of another length", table("id,split,rgb\na,train,1.jpg\nb,train\nc,train,2.jpg,x\n"), CSV,
         skips={"set.csv:3": "2 cells, the header 3", "set.csv:4": "4 cells, the header 3"}, kept=("a",)),
    Case("a path outside of the data", table("id,split,rgb\na,train,1.jpg\nb,train,../../b.jpg\n"), CSV,
         skips={"b": "leads out of"}, kept=("a",)),
    Case("a path without a file", table("id,split,rgb\na,train,1.jpg\nb,train,3.jpg\n"), CSV,
         skips={"b": "cannot be read .No such file"}, kept=("a",)),
    Case("a label that is no class", table("id,split,label,rgb\na,train,cat,1.jpg\nb,train,pony,2.jpg\n"),
         {**CSV, "classes": ["cat", "dog"]}, skips={"b": "'pony' is none of the 2 classes"}, kept=("a",)),
    Case("an unknown split", table("id,split,rgb\na,train,1.jpg\nb,trian,2.jpg\n"), CSV,
         skips={"b": "'trian' is none of train, val, test"}, kept=("a",)),
    Case("depth of 8 bits", table("id,split,rgb,depth\na,train,1.jpg,1.png\nb,train,2.jpg,g.png\n", g__png=GREY), CSV, RGBD,
         skips={"b": "8-bit values are no depth in millimetres"}, kept=("a",)),
    Case("a photograph as depth", table("id,split,rgb,depth\na,train,1.jpg,1.png\nb,train,2.jpg,1.jpg\n"), CSV, RGBD,
         skips={"b": "a colour image .mode RGB. is no depth map"}, kept=("a",)),
    Case("a sample without one of its sensors", table("id,split,rgb,depth\na,train,1.jpg,1.png\nb,train,2.jpg,\n"), CSV, RGBD,
         kept=("a", "b")),
    Case("a label file that is too short", labelled("train/1 cat\n"), PAIRS,
         skips={"labels.txt": "no label for 1 of 2 samples, .*'train/2'"}, kept=("train/1", "train/2")),
    Case("a label file that is too long", labelled("train/1 cat\ntrain/2 dog\ntrain/3 dog\n"), PAIRS,
         skips={"labels.txt": "1 of its 3 rows name no sample, .*'train/3'"}, kept=("train/1", "train/2")),
    Case("a label file with half a row", labelled("train/1 cat\ntrain/2\n"), PAIRS,
         error="labels.txt: the row 'train/2' has no label"),
    Case("a class number beyond the class file", shard({"1.jpg": JPEG, "1.cls": b"1", "2.jpg": JPEG, "2.cls": b"2"}),
         {**SHARDS, "label": "cls", "classes": ["cat", "dog"]}, skips={"s/2": "beyond the 2 classes"}, kept=("s/1",)),
    Case("a tar cut off in the middle", shard({"1.jpg": JPEG, "2.jpg": JPEG}, cut=len(JPEG) + 900), SHARDS,
         error="s.tar: .*(is no whole tar file|cut off|damaged)"),
    Case("a tar of zero bytes", shard({}, cut=0), SHARDS, error="s.tar: is no whole tar file"),
    Case("a shard pattern without a file", photos(), SHARDS, error="data.shards.train: .*no file matches"),
    Case("a member twice", shard({"1.jpg": JPEG, "1.JPG": JPEG}), SHARDS, error="has two members '.jpg'"),
    Case("broken images in a shard", shard({"1.jpg": JPEG, "2.jpg": JPEG[:300], "3.jpg": b""}), SHARDS,
         skips={"s/2": "cannot be decoded", "s/3": "the file is empty"}, kept=("s/1",)),
]  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Case], Path]:
    monkeypatch.syspath_prepend(TINY)
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
    monkeypatch.setenv("EDGEFW_CACHE", str(tmp_path / "cache"))

    def written(case: Case) -> Path:
        case.make(tmp_path)
        scheme = "dual-modality" if len(case.modalities) > 1 else "single-modality"
        phase = {"name": "distil", "scheme": {"name": scheme}, "losses": [{"name": "feature"}], "steps": 1, "batch": 1}
        document = {
            "data": case.data,
            "modalities": case.modalities,
            "teacher": {"name": "tiny-colours"},
            "student": {"name": "tiny-trunk"},
            "train": [phase],
        }
        OmegaConf.save(OmegaConf.create(document), tmp_path / "wrong.yaml")
        return tmp_path / "wrong.yaml"

    return written


def reads_everything(folder: Path) -> bool:
    closed = folder / "closed"
    closed.mkdir(mode=0)
    return os.access(closed, os.R_OK)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_wrong_data_is_one_message_or_a_listed_skip(
    case: Case, recipe: Callable[[Case], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if case.make is unreadable and reads_everything(tmp_path):
        pytest.skip("this user reads everything; without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH root does not")
    code = run(["run", str(recipe(case)), "--until", "curate", "--out", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if case.error:
        assert code == 2 and said.count("Error: ") == 1
        assert re.search(case.error, said), said
        return
    assert code == 0, said
    rows = parquet.read_table(tmp_path / "run/curate/kept.parquet").to_pydict()
    result = json.loads((tmp_path / "run/curate/result.json").read_text())
    listed = {skip["id"].removeprefix(f"{tmp_path}/data/"): skip["reason"] for skip in result["skipped_samples"]}
    assert tuple(rows["id"]) == case.kept
    assert result["skipped"] == len(case.skips) and listed.keys() == case.skips.keys()
    assert all(re.search(reason, listed[id]) for id, reason in case.skips.items()), listed


def test_there_are_more_than_twenty_cases() -> None:
    assert len(CASES) > 20 and len({case.name for case in CASES}) == len(CASES)
