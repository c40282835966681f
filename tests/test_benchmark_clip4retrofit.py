"""The scripts of benchmarks/clip4retrofit on a generated miniature of their data set, with numbers counted by hand."""

from __future__ import annotations

import io
import json
import runpy
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).resolve().parent.parent / "benchmarks" / "clip4retrofit"
BOX = [20, 20, 40, 40]


def write_split(folder: Path, split: str, pictures: dict[str, tuple[str, np.ndarray]]) -> None:
    """A shard: key -> (class, pixels); every object is said to lie in `BOX`."""
    with tarfile.open(folder / f"{split}-000000.tar", "w") as archive:
        for key, (label, pixels) in pictures.items():
            image = io.BytesIO()
            Image.fromarray(pixels).save(image, format="JPEG", quality=95)
            about = json.dumps({"class": label, "model_id": key.partition("_")[0], "bbox_xyxy": BOX}).encode()
            for name, data in ((f"{key}.jpg", image.getvalue()), (f"{key}.json", about)):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))


def run(script: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")


def test_peaks_in_the_box_are_counted_beside_what_a_blind_pointer_reaches(tmp_path, small_bundle, monkeypatch) -> None:
    bundle = small_bundle.add_map(small_bundle.write_small_bundle(tmp_path / "run" / "bundle"))
    colours = small_bundle.COLOURS
    hit, miss = np.full((40, 40, 3), colours["blue"], np.uint8), np.full((40, 40, 3), colours["blue"], np.uint8)
    hit[20:, 20:], miss[:20, :20] = colours["red"], colours["red"]
    write_split(
        tmp_path,
        "test",
        {"one_v0": ("red", hit), "two_v0": ("red", miss), "two_v1": ("red", hit), "x_v0": ("sofa", hit)},
    )
    run("heat.py", monkeypatch, bundle, "--data", tmp_path, "--out", tmp_path / "heat.json")
    (found,) = json.loads((tmp_path / "heat.json").read_text())["bundles"]
    assert (found["bundle"], found["n"], found["unlabelled"], found["grid"]) == ("run", 3, 1, [4, 4])
    assert [row["hit"] for row in found["samples"]] == [True, False, True]
    assert found["hit"] == pytest.approx(2 / 3)
    assert found["area"] == found["cell"] == 0.25
    assert found["centre"] == 1.0  # 20, 20 is the first pixel of the box
    assert found["by_class"]["red"]["hit"] == found["hit"]
    low, high = found["hit_interval_95"]
    assert low == pytest.approx(0.5) and high == pytest.approx(1.0)  # model one always, model two half of the time
    assert 0.0 <= found["other_label"] <= 1.0


def test_more_examples_of_confused_names_help(tmp_path, small_bundle, monkeypatch) -> None:
    pytest.importorskip("sklearn")
    bundle = small_bundle.write_small_bundle(tmp_path / "run" / "bundle")
    for split, first in (("train", 0), ("test", 100)):
        pictures = {
            f"{name}{number}_v0": (name, small_bundle.picture(colour, first + number))
            for name, colour in small_bundle.COLOURS.items()
            for number in range(5)
        }
        write_split(tmp_path, split, pictures)
    run("few_shot.py", monkeypatch, bundle, "--data", tmp_path, "--seeds", 2, "--out", tmp_path / "curve.json")
    document = json.loads((tmp_path / "curve.json").read_text())
    (found,) = document["bundles"]
    assert found["n_test"] == 15 and document["seeds"] == [0, 1]
    for method in ("prototype", "logistic"):
        points = found["curves"][method]
        assert [point["n"] for point in points] == [0, 1, 2, 4, 8, 16]
        assert len(points[0]["top1"]["seeds"]) == 1 and len(points[1]["top1"]["seeds"]) == 2
        assert points[-1]["top1"]["mean"] == 1.0 and points[-1]["top1"]["std"] == 0.0
    assert found["curves"]["prototype"][0] == found["curves"]["logistic"][0]


def test_photographs_of_the_cifar_shards_are_read_with_their_names(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with tarfile.open(tmp_path / "train-000006.tar", "w") as archive:
        for name, data in (("b.jpg", b"second"), ("b.cls", b"0"), ("a.cls", b"1"), ("a.jpg", b"first")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    read = runpy.run_path(str(SCRIPTS / "cifar.py"))["samples"]
    assert list(read(tmp_path, "train")) == [("a", b"first", "dog"), ("b", b"second", "cat")]
    with pytest.raises(SystemExit, match=r"no shard test-\*\.tar here"):
        list(read(tmp_path, "test"))


def test_memory_on_a_gpu_is_what_the_phase_says_of_it(tmp_path) -> None:
    peak = runpy.run_path(str(SCRIPTS / "economy.py"))["peak_bytes"]
    (tmp_path / "train").mkdir()
    record = tmp_path / "train" / "result.json"
    record.write_text(json.dumps({"phases": [{"name": "distil", "device_peak_bytes": 7_000_000}]}))
    assert peak(tmp_path, "cuda", 5) == 7_000_000
    assert peak(tmp_path, "cpu", 5) == 5
    record.write_text(json.dumps({"phases": [{"name": "distil"}]}))
    with pytest.raises(SystemExit, match="says nothing of memory on its device. Was it trained on 'cuda'"):
        peak(tmp_path, "cuda", 5)
