"""From a download to a bundle: `edgefw prepare` on a miniature of each layout, then a whole run on what it wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

import edgefw
from edgefw.cli.main import run
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry

FIXTURES = Path(__file__).parents[1] / "fixtures"
sys.path.insert(0, str(FIXTURES))
import miniatures

MINIATURES = {
    "scannet": miniatures.scannet,
    "nyu2": miniatures.nyu2,
    "sun-rgbd": miniatures.sun_rgbd,
    "eurosat": miniatures.eurosat,
}
RECIPE = """
teacher: {name: tiny-colours}
student: {name: tiny-trunk}
curate: {labels: [red, green, blue], keep: 1.0}
train:
  - name: distil
    scheme: {name: dual-modality}
    losses: [{name: feature}]
    optimiser: {lr: 1e-2}
    steps: 4
    batch: 2
    select: {by: last}
compute: {device: cpu}
verify: {max_drop: 100, min_cosine: 0.5, max_slowdown: null}
"""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FIXTURES / "tiny_pieces")
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")


@pytest.mark.parametrize("second", ["B12", "bands"])
def test_the_printed_swir_modality_is_edgevls_clip_of_band_12(tmp_path: Path, second: str) -> None:
    import tifffile

    source = miniatures.eurosat(tmp_path / "in", count=1)
    assert run(["prepare", "eurosat", str(source), str(tmp_path / "out"), f"second={second}", "--json"]) == 0
    sections = OmegaConf.create(json.loads((tmp_path / "out/prepare.json").read_text())["yaml"])
    piece = OmegaConf.to_container(sections.modalities.swir)
    technique = Registry().load(Kind.MODALITY, piece.pop("name"))
    modality = technique.build(technique.config(**piece), edgefw.BuildContext())
    [file] = (tmp_path / "out" / "swir").rglob("River_1.*")
    stored = tifffile.imread(source / "EuroSAT_MS" / "River" / "River_1.tif")[:, :, 11]
    np.testing.assert_allclose(modality.decode(file.read_bytes(), str(file)), stored / 10000, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("layout", MINIATURES)
def test_a_download_becomes_a_verified_bundle(tmp_path: Path, layout: str, tiny: None) -> None:
    source, dest = MINIATURES[layout](tmp_path / "in"), tmp_path / "out"
    share = "val_from_train=0.4"
    assert run(["prepare", layout, str(source), str(dest), share, "seed=11", "--json"]) == 0
    summary = json.loads((dest / "prepare.json").read_text())
    assert all(summary["splits"].values()), summary["splits"]
    (tmp_path / "recipe.yaml").write_text(summary["yaml"] + RECIPE)
    assert run(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    seen = {(row["model"], row["modality"]) for row in result["evaluation"] if row["metric"] == "top1"}
    second = "swir" if layout == "eurosat" else "depth"
    assert seen >= {("student", "rgb"), ("student", second), ("onnxruntime-fp32", second)}
    assert (tmp_path / "run" / "bundle" / "manifest.json").is_file()
