"""A bundle on another machine: its quantised files are held against its float file's time there."""

import numpy as np
import pytest
from PIL import Image

from edgefw.labels.folders import parse_data
from edgefw.runtime.bundle import open_bundle
from edgefw.verifying.bundle_check import verify_bundle


def test_what_verify_found_in_a_file_is_told_of_the_bundle(tmp_path, small_bundle) -> None:
    folder = small_bundle.write_small_bundle(tmp_path / "b")
    quality = {"precision": "fp32", "int8_share": 0.0}
    small_bundle.change_manifest(folder, lambda manifest: manifest["artefacts"][1].update(quality=quality))
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "images" / "1.png")
    with open_bundle(folder) as opened:
        folders = parse_data([str(tmp_path / "images")], opened.modalities, ())
        found = verify_bundle(opened, folders, None, threads=1, seconds=0.02)
    rows = [(row["name"], row["precision"], row["int8_share"]) for row in found["artefacts"]]
    assert rows == [("onnxruntime-fp32", "fp32", None), ("onnxruntime-int8-static", "fp32", 0.0)]


@pytest.mark.parametrize(("limit", "ok"), [(1e-6, False), (1e6, True), (None, None)])
def test_a_bundle_carries_its_limit(tmp_path, small_bundle, limit, ok) -> None:
    folder = small_bundle.write_small_bundle(tmp_path / "b", budget={"max_slowdown": limit})
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "1.png")
    with open_bundle(folder) as opened:
        folders = parse_data([str(tmp_path / "images")], opened.modalities, ())
        found = verify_bundle(opened, folders, None, threads=1, seconds=0.02)
    rows = {row["artefact"]: row["ok"] for row in found["budget"] if row["check"] == "max_slowdown"}
    assert rows == ({} if ok is None else {"onnxruntime-int8-static": ok})
    slowdowns = {row["name"]: row["slowdown"] for row in found["artefacts"]}
    assert slowdowns["onnxruntime-fp32"] is None and slowdowns["onnxruntime-int8-static"] > 0
    for row in found["artefacts"]:
        assert bool(row["warnings"]) == ((row["slowdown"] or 0.0) > 1.05)
        assert all(text.startswith("slower than its float source on this machine") for text in row["warnings"])
