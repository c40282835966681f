"""The speed table's driver, from run to rows, on a small network in the runtimes that are here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks/backends/speed.py"
DATA = ROOT.parent / "shared/data"

pytestmark = pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason="shared/data is absent")


@pytest.mark.slow
def test_rows_hold_agreement_and_the_ratio_to_the_best_use_by_hand(tmp_path):
    options = ["--models", "mobilenetv3_small_050", "--size", "64", "--rounds", "2", "--backends", "onnxruntime"]
    command = [sys.executable, str(SCRIPT), "--data", str(DATA), "--work", str(tmp_path / "work")]
    command += [*options, "--out", str(tmp_path / "speed.json")]
    environment = os.environ | {"EDGEFW_PLUGINS": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    assert (tmp_path / "speed.json").is_file(), done.stderr[-2000:]
    found = json.loads((tmp_path / "speed.json").read_text())
    (row,) = found["rows"]
    assert row["artefact"] == "onnxruntime-fp32" and row["cosine_min"] > 0.99999
    ways = row["by_hand"]
    assert len(ways) == 4 and all(way["cosine_min"] > 0.99999 for way in ways.values())
    assert row["of_best_by_hand"] == pytest.approx(
        row["p50_ms"] / min(way["p50_ms"] for way in ways.values()), abs=1e-2
    )
    assert found["met"] is (row["of_best_by_hand"] <= 1.05)
    assert 0 < row["p50_ms"] <= row["p95_ms"] and row["startup_s"] > 0 and row["peak_mb"] > row["megabytes"]
    assert found["networks"]["mobilenetv3_small_050"]["rounds"] == 2
    assert row["artefact"] in (tmp_path / "speed.md").read_text()
    run = tmp_path / "work/mobilenetv3_small_050"
    assert np.load(run / "images.npy").shape == (256, 3, 64, 64)
