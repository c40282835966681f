"""The scripts of benchmarks/labeller on a tiny bundle: both sides say the same, and the figures stand in the file."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgefw
from edgefw.cli.main import run as cli
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.in_order import processors

SCRIPTS = Path(__file__).resolve().parent.parent / "benchmarks" / "labeller"
NAMES = {"bare", "bare, reading ahead", "edgefw"}


def run(script: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    assert ended.value.code in (0, 1)


def measured(script: str, small_bundle, monkeypatch, folder: Path, *more: object) -> dict:
    bundle = small_bundle.write_small_bundle(folder / "bundle")
    common = ("--bundle", bundle, "--artefact", "onnxruntime-fp32", "--work", folder, "--rounds", 1)
    run(script, monkeypatch, *common, "--out", folder / "found.json", *more)
    return json.loads((folder / "found.json").read_text())


@pytest.mark.slow
def test_a_folder_is_labelled_alike_by_all_three(small_bundle, monkeypatch, tmp_path) -> None:
    found = measured(
        "throughput.py", small_bundle, monkeypatch, tmp_path, "--images", 10, "--size", "60x40", "--batch", 4
    )
    assert found["images_a_second"].keys() == found["processor_ms_an_image"].keys() == NAMES
    assert all(len(rounds) == 1 for rounds in found["rounds"].values())
    assert found["met"] == (found["ratio"]["bare"] >= 0.95)
    (edgefw,), (bare,) = found["rounds"]["edgefw"], found["rounds"]["bare"]
    assert found["ratio"]["bare"] == pytest.approx(edgefw / bare, rel=0.1)


@pytest.mark.slow
def test_the_first_label_is_waited_for(small_bundle, monkeypatch, tmp_path) -> None:
    found = measured("cold_start.py", small_bundle, monkeypatch, tmp_path)
    assert found["first_label_ms"].keys() == {"bare", "edgefw", "edgefw, .edgefw file"}
    assert found["met"] == (found["ratio"]["edgefw"] <= 3)


def test_the_record_names_the_processor_and_what_was_timed() -> None:
    machine = runpy.run_path(str(SCRIPTS / "pairs.py"), run_name="pairs")["machine"]()
    assert machine["edgefw"] == edgefw.__version__ and machine["onnxruntime"] == onnxruntime.__version__
    assert machine["processor"] and machine["cores"] == processors()


def test_the_script_says_what_edgefw_says_and_refuses_what_it_would_read_wrongly(
    small_bundle, capsys, tmp_path
) -> None:
    pictures = small_bundle.write_pictures(tmp_path / "pictures") / "green"
    pairs = runpy.run_path(str(SCRIPTS / "pairs.py"), run_name="pairs")
    with open_bundle(small_bundle.write_small_bundle(tmp_path / "bundle")) as bundle:
        parts = np.load(pairs["write_parts"](bundle, "onnxruntime-fp32", "rgb", tmp_path / "parts.npz"))
        assert parts["vectors"].shape == (3, 8) and int(parts["size"]) == 16
        bare = [str(SCRIPTS / "bare.py"), str(tmp_path / "parts.npz"), str(pictures), "--batch", "3", "--readers", "2"]
        assert cli(["label", str(tmp_path / "bundle"), str(pictures), "--artefact", "onnxruntime-fp32"]) == 0
        told = [line.rpartition("\t")[0] for line in capsys.readouterr().out.splitlines()]
        assert told == [f"{path}\t{label}" for path, label in pairs["timed"](bare).labels.items()]
        assert len(told) == 4
        with pytest.raises(SystemExit, match="not \\['resize', 'scale', 'normalise'\\]"):
            pairs["write_parts"](bundle, "onnxruntime-fp32", "depth", tmp_path / "parts.npz")
