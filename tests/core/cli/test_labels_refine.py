"""`edgefw labels refine|thresholds` as a user types them, and `edgefw label` with what they wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.label_pack import Label, LabelPack, read_pack, write_pack


@pytest.fixture(scope="module")
def poor(tmp_path_factory, bundle):
    """A pack whose vectors say little."""
    path = tmp_path_factory.mktemp("packs") / "poor.json"
    with open_bundle(bundle) as opened:
        good = opened.label_pack()
    noise = np.random.default_rng(1).normal(size=(3, good.width)).astype(np.float32)
    labels = [Label(name=label.name, vectors=row[None]) for label, row in zip(good.labels, noise)]
    write_pack(LabelPack(labels=labels, logit_scale=good.logit_scale, encoder=good.encoder), path)
    return path


def right(out: str) -> int:
    return sum(line.split("\t")[1] == line.split("\t")[0].split("/")[-2] for line in out.splitlines())


@pytest.mark.parametrize("by", ["prototype", "logistic"])
def test_a_refined_pack_labels_better(edgefw, bundle, pictures, poor, tmp_path, small_bundle, by):
    out = tmp_path / "new.json"
    given = ("--pack", poor, "--by", by, "--each", 2, "--out", out, "--json")
    code, told, _ = edgefw("labels", "refine", bundle, pictures, *given)
    document = json.loads(told)
    assert code == 0
    assert document["examples"] == {"red": 2, "green": 2, "blue": 2}
    assert document["after"]["log_loss"] < document["before"]["log_loss"]
    more = small_bundle.write_pictures(tmp_path / "more", each=7)
    assert right(edgefw("label", bundle, more, "--pack", out)[1]) == 21
    assert right(edgefw("label", bundle, more, "--pack", poor)[1]) < 21


def test_a_refined_pack_needs_neither_torch_nor_scikit_learn(edgefw, bundle, pictures, poor, tmp_path):
    out = tmp_path / "new.json"
    assert edgefw("labels", "refine", bundle, pictures, "--pack", poor, "--by", "logistic", "--out", out)[0] == 0
    blocked = (
        "import sys; sys.modules.update(torch=None, sklearn=None, scipy=None); from edgefw.cli.main import main; main()"
    )
    command = [sys.executable, "-c", blocked, "label", str(bundle), str(pictures), "--pack", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert right(done.stdout) == 12


def test_the_report_says_what_helped_and_what_is_missing(edgefw, bundle, pictures, poor, tmp_path):
    shutil.copytree(pictures, tmp_path / "two", ignore=shutil.ignore_patterns("blue"))
    code, told, err = edgefw("labels", "refine", bundle, tmp_path / "two", "--pack", poor, "--out", tmp_path / "p.json")
    assert code == 0
    assert "8 examples, 0 to 4 of a label" in told and "refined      top-1" in told
    assert "no example of blue: known by the text alone" in err


def test_a_larger_draw_holds_the_smaller_one(bundle, pictures):
    from edgefw.labels.examples import embed_folder
    from edgefw.labels.folders import parse_data

    with open_bundle(bundle) as opened:
        (folder,) = parse_data([str(pictures)], opened.modalities, opened.label_pack().names)
        small, large = (embed_folder(opened, folder, each=each, seed=3) for each in (1, 3))
    assert (len(small.labels), len(large.labels)) == (3, 9)
    for row in small.embeddings:
        assert np.abs(large.embeddings - row).max(axis=1).min() < 1e-6
    np.testing.assert_allclose(np.linalg.norm(large.embeddings, axis=1), 1.0)


def test_thresholds_are_stored_and_silence_strangers(edgefw, bundle, pictures, tmp_path, small_bundle):
    data = tmp_path / "validation"
    shutil.copytree(pictures, data)
    from PIL import Image

    (data / "other").mkdir()
    for seed in range(3):
        Image.fromarray(small_bundle.picture((120, 110, 60), seed)).save(data / "other" / f"{seed}.png")
    out = tmp_path / "strict.json"
    code, told, err = edgefw("labels", "thresholds", bundle, data, "--precision", 1.0, "--out", out)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in told.splitlines()] == ["label", "red", "green", "blue"]
    assert max(label.threshold for label in read_pack(out).labels) > 0
    lines = edgefw("label", bundle, data, "--pack", out)[1].splitlines()
    said = [line for line in lines if "unknown" not in line]
    assert right("\n".join(said)) == len(said) == 12


def test_a_label_that_cannot_be_that_good_is_told(edgefw, bundle, pictures, poor, tmp_path):
    out = tmp_path / "out.json"
    code, told, err = edgefw(
        "labels", "thresholds", bundle, pictures, "--pack", poor, "--recall", 1, "--out", out, "--json"
    )
    rows = json.loads(told)["labels"]
    assert code == 0
    assert [row["met"] for row in rows] == [row["recall"] == 1.0 for row in rows]
    assert err.count("not to be reached, threshold 0") == sum(not row["met"] for row in rows) > 0


def test_what_is_wrong_is_said_in_one_message(edgefw, bundle, pictures, tmp_path, monkeypatch):
    out = ("--out", tmp_path / "x.json")

    def refusal(*arguments) -> str:
        code, _, err = edgefw("labels", *arguments, *out)
        assert code == 2 and "Traceback" not in err
        return err

    assert "give either --precision 0.95 or --recall 0.9" in refusal("thresholds", bundle, pictures)
    assert "there is no folder" in refusal("refine", bundle, tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "no image here" in refusal("refine", bundle, tmp_path / "empty")
    for module in ("sklearn", "sklearn.linear_model"):  # the second alone answers where it was imported before
        monkeypatch.setitem(sys.modules, module, None)
    message = refusal("refine", bundle, pictures, "--by", "logistic")
    assert "this needs the package 'sklearn" in message and 'Install it: pip install "edgefw[few-shot]"' in message
    assert not (tmp_path / "x.json").exists()
