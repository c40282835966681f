"""`edgefw labels thresholds --truth` as a user types it, and an empty folder's name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgefw.labels.examples import embed_files
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.label_pack import read_pack

NAMES = ("red", "green", "blue", "zebra")


@pytest.fixture(scope="module")
def rows(pictures) -> list[tuple[Path, list[str]]]:
    """Every picture, its own colour and others at random; the pack has no zebra."""
    draw = np.random.default_rng(5)
    return [
        (path, sorted({path.parent.name, *(name for name in NAMES if draw.random() < 0.3)}))
        for path in sorted(pictures.rglob("*.png"))
    ]


@pytest.fixture(scope="module")
def truth(pictures, rows) -> Path:
    file = pictures.parent / "truth.csv"
    lines = [f"{path.relative_to(pictures.parent).as_posix()},{';'.join(names)}" for path, names in rows]
    file.write_text("\n".join(["image,labels", *lines, f"{pictures.name}/gone.png,red"]) + "\n")
    return file


def probabilities(bundle, pack, rows) -> np.ndarray:
    with open_bundle(bundle) as opened:
        _, embeddings, _ = embed_files(opened, "rgb", [path for path, _ in rows])
    return pack.probabilities(embeddings.astype(np.float32))


@pytest.mark.parametrize(("aim", "wanted"), [("precision", 0.75), ("recall", 0.6)])
def test_each_label_is_asked_alone(edgefw, bundle, pictures, truth, rows, tmp_path, aim, wanted):
    out = tmp_path / "p.json"
    given = ("--truth", truth, f"--{aim}", wanted, "--out", out, "--json")
    code, told, err = edgefw("labels", "thresholds", bundle, pictures, *given)
    assert code == 0 and "not in the pack: zebra" in err and "1 image cannot be read, and does not count" in err
    pack = read_pack(out)
    scores = probabilities(bundle, pack, rows)
    for at, row in enumerate(json.loads(told)["labels"]):
        shows = np.array([row["label"] in names for _, names in rows])
        held = scores[:, at] >= row["value"]
        assert pack.labels[at].threshold == row["value"] and row["n"] == shows.sum()
        assert row["recall"] == pytest.approx((held & shows).sum() / shows.sum())
        assert not row["met"] or row[aim] >= wanted
        if held.any():
            assert row["precision"] == pytest.approx((held & shows).sum() / held.sum())


def test_eval_says_what_it_could_not_read(edgefw, bundle, pictures, truth):
    code, out, err = edgefw("labels", "eval", bundle, pictures, "--truth", truth)
    assert code == 0 and "mean AUC" in out and "1 image cannot be read, and does not count" in err


def test_the_table_tells_a_label_of_no_image_and_one_that_cannot_be_that_good(edgefw, bundle, pictures, rows, tmp_path):
    lines = [f"{path},red" if path.parent.name == "green" else f"{path}," for path, _ in rows]
    file = tmp_path / "wrong.csv"
    file.write_text("\n".join(["image,labels", *lines]) + "\n")
    given = ("--truth", file, "--precision", 1, "--out", tmp_path / "p.json")
    code, told, err = edgefw("labels", "thresholds", bundle, pictures, *given)
    assert code == 0 and [line.split()[0] for line in told.splitlines()] == ["label", "red", "green", "blue"]
    assert "warning: red: not to be reached, threshold 1" in err
    assert err.count("no image of it, its threshold stays") == 2


def test_a_wrong_table_and_one_for_refine_are_one_message(edgefw, bundle, pictures, truth, tmp_path):
    def refusal(*arguments) -> str:
        code, _, err = edgefw("labels", *arguments, "--out", tmp_path / "p.json")
        assert code == 2 and err.count("Error: ") == 1 and not (tmp_path / "p.json").exists()
        return err

    assert "refine takes no --truth: it is for images of one label" in refusal(
        "refine", bundle, pictures, "--truth", truth
    )
    command = ("thresholds", "--recall", 1, bundle)
    assert "cannot be read" in refusal(*command, pictures, "--truth", tmp_path / "no.csv")
    assert "names no image below" in refusal(*command, pictures, "--truth", other(tmp_path))
    assert "give either --precision 0.95 or --recall 0.9" in refusal("thresholds", bundle, pictures, "--truth", truth)


def other(folder: Path) -> Path:
    file = folder / "other.csv"
    file.write_text("image,labels\n1.png,red\n")
    return file


@pytest.mark.parametrize("name", ["", "rgb="])
def test_an_empty_name_is_no_folder(edgefw, bundle, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    out = ("--out", tmp_path / "p.json")
    for command in (("eval",), ("refine", *out), ("thresholds", "--recall", 1, *out)):
        code, told, err = edgefw("labels", *command, bundle, name)
        assert (code, told) == (2, "")
        assert err.count("Error: ") == 1 and "its name is empty ''. Is a variable not set?" in err
