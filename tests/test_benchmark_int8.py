"""benchmarks/backends/int8.py on a small network: every file that was made has its numbers, and float is 1."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgefw.runtime.integer_products import products_are_exact

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "backends" / "int8.py"


@pytest.mark.slow
def test_files_are_measured_beside_float(tmp_path, capsys) -> None:
    names = runpy.run_path(str(SCRIPT))
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(12):
        Image.fromarray(draw.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{number}.png")
    out = tmp_path / "int8.json"
    options = ["--model", "test_resnet", "--weights", "none", "--size", "64", "--threads", "1", "--seconds", "1"]
    names["main"]([*options, "--data", str(tmp_path / "photos"), "--out", str(out)])
    document = json.loads(out.read_text())
    assert (document["weights"], document["threads"], document["size"]) == ("none", 1, 64)
    (row,) = document["rows"]
    assert row["images"] == 6
    assert set(row["files"]) >= {"float", "onnxruntime's defaults"}
    assert row["files"]["float"]["ratio"] == 1.0 and row["files"]["float"]["int8_share"] == 0.0
    assert row["files"]["onnxruntime's defaults"]["int8_share"] > 0.5
    assert document["default_kernels_are_exact"] == products_are_exact()
    default = row["files"]["onnxruntime's defaults"]
    assert default["cosine_exact"] > 0.9 and (not products_are_exact() or default["cosine"] == default["cosine_exact"])
    assert all(file["cosine"] > 0.9 and file["ms_p50"] > 0 for file in row["files"].values())
    if "int8-latency-aware" in row["files"]:
        assert row["search"]["whole_file"]["ratio_high"] < 1
    assert sum(choice["macs_share"] for choice in row["search"]["choices"]) == pytest.approx(1.0)
    assert "test_resnet" in capsys.readouterr().out


def test_a_folder_without_images_is_refused(tmp_path) -> None:
    with pytest.raises(SystemExit, match="no image"):
        runpy.run_path(str(SCRIPT))["pictures"](tmp_path, 4, 32)
