"""From a download to a bundle: `edgefw prepare` on a miniature of each layout, then EdgeVL's recipes on what it wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

import edgefw
from edgefw.cli.main import run
from edgefw.contracts.student import InputSpec
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
SLOW = pytest.mark.slow
LAYOUTS = ["eurosat", *(pytest.param(name, marks=SLOW) for name in MINIATURES if name != "eurosat")]
INT8 = "onnxruntime-int8-qat"
SMALL = (
    "teacher={name: tiny-colours}",
    "student={name: tiny-trunk, size: 16, head: {name: linear-norm}}",
    "curate.labels=[red, green, blue]",
    "curate.keep=1.0",
    *(f"train.{phase}.{key}" for phase in ("distil", "align") for key in ("epochs=null", "steps=2", "batch=2")),
    "train.align.sampler.margin=2.0",
    "export.backends.0.threads=1",
    "verify.max_slowdown=null",
    "compute.device=cpu",
    "compute.threads=1",
)
"""A tiny teacher and student, a few steps, and a margin that few samples fill; all else is the recipe's."""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FIXTURES / "tiny_pieces")
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")


def prepared(folder: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepare a miniature as the documentation does, from the folder in which the recipe runs."""
    MINIATURES[layout](folder / "download")
    monkeypatch.chdir(folder)
    assert run(["prepare", layout, "download", layout, "val_from_train=0.4", "seed=11"]) == 0


def recipe_and_sensor(layout: str) -> tuple[str, str]:
    """The shipped recipe for a layout, and its second modality."""
    return ("edgevl-eurosat", "swir") if layout == "eurosat" else ("edgevl", "depth")


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_download_becomes_a_verified_int8_bundle_of_the_shipped_recipe(
    tmp_path: Path, layout: str, tiny: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(tmp_path, layout, monkeypatch)
    recipe, second = recipe_and_sensor(layout)
    assert run(["run", recipe, f"data.file={layout}/samples.csv", *SMALL, "--out", "run"]) == 0
    splits = read(tmp_path / layout / "prepare.json")["splits"]
    made = tmp_path / "run"
    check_curation(made, splits["train"])
    check_both_phases(made)
    check_verification(made, second)
    check_int8_file(made, second)
    for sensor in ("rgb", second):
        capsys.readouterr()
        assert run(["label", "run/bundle", f"{layout}/{sensor}/test", "--modality", sensor, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["artefact"] == INT8 and len(document["images"]) == splits["test"]


def check_curation(made: Path, samples: int) -> None:
    curated = read(made / "curate" / "result.json")
    assert curated["labels"] == ["red", "green", "blue"] and curated["kept"] == curated["total"] == samples
    assert sum(row["kept"] > 0 for row in curated["per_label"]) > 1
    page = (made / "report.html").read_text()
    assert 'id="curation"' in page


def check_both_phases(made: Path) -> None:
    """Two steps of each, the second one on triplets that the sampler found."""
    for phase in ("distil", "align"):
        lines = [json.loads(line) for line in (made / "train" / phase / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    [mined] = [line["sampler"] for line in lines if "sampler" in line]
    assert mined["anchors"] >= 2 and mined["filled"] == 0
    assert all("triplet" in line["losses"] for line in lines if "loss" in line)


def check_verification(made: Path, second: str) -> None:
    result = read(made / "result.json")
    assert result["status"] == "ok" and result["best"] == INT8
    assert result["budget"] and all(row["ok"] for row in result["budget"])
    top1 = {(row["model"], row["modality"]): row["value"] for row in result["evaluation"] if row["metric"] == "top1"}
    assert set(top1) == {(model, sensor) for model in ("teacher", "student", INT8) for sensor in ("rgb", second)}
    assert all(0 <= value <= 1 for value in top1.values())


def check_int8_file(made: Path, second: str) -> None:
    import onnx

    [artefact] = read(made / "result.json")["artefacts"]
    assert artefact["name"] == INT8 and artefact["serves"] == ["rgb", second]
    graph = onnx.load(made / artefact["path"]).graph
    assert sum(node.op_type == "QuantizeLinear" for node in graph.node) >= 3
    assert (made / "bundle" / "artefacts" / INT8 / "model.onnx").read_bytes() == (made / artefact["path"]).read_bytes()


@pytest.mark.parametrize("layout", MINIATURES)
def test_the_printed_lines_fit_below_the_shipped_recipe(
    tmp_path: Path, layout: str, tiny: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(tmp_path, layout, monkeypatch)
    lines = capsys.readouterr().out.partition("Lines for a recipe:\n")[2]
    recipe, _ = recipe_and_sensor(layout)
    (tmp_path / "mine.yaml").write_text(f"base: {recipe}\n{lines}")
    assert run(["check", "mine.yaml", *SMALL, "--json"]) == 0
    plan, summary = json.loads(capsys.readouterr().out), read(tmp_path / layout / "prepare.json")
    counts = {split: facts["samples"] for split, facts in plan["data"]["splits"].items()}
    assert counts == summary["splits"] and all(counts.values())
    assert plan["data"]["licence"] == summary["licence"]
    assert plan["verify"]["labels"] == plan["data"]["classes"] == len(summary["labels"])


@pytest.mark.parametrize("second", ["B12", "bands"])
def test_the_printed_swir_modality_is_edgevls_clip_of_band_12(tmp_path: Path, second: str) -> None:
    """clip(DN / 4095, 0, 1) at the size of the file, so that nothing is resampled; pixels above 4095 are 1."""
    source = miniatures.eurosat(tmp_path / "in", count=1)
    stored = np.linspace(0, 8190, 64 * 64).reshape(64, 64).round().astype(np.uint16)
    stored[0, :3], stored[63, 63] = (4094, 4095, 4096), 65535
    bands = np.zeros((64, 64, 13), np.uint16)
    bands[:, :, 11] = stored
    miniatures.geotiff(source / "EuroSAT_MS" / "River" / "River_1.tif", bands)
    assert run(["prepare", "eurosat", str(source), str(tmp_path / "out"), f"second={second}", "--json"]) == 0
    sections = OmegaConf.create(read(tmp_path / "out" / "prepare.json")["yaml"])
    piece = OmegaConf.to_container(sections.modalities.swir)
    technique = Registry().load(Kind.MODALITY, piece.pop("name"))
    modality = technique.build(technique.config(**piece), edgefw.BuildContext())
    [file] = (tmp_path / "out" / "swir").rglob("River_1.*")
    decoded = modality.decode(file.read_bytes(), str(file))
    np.testing.assert_allclose(decoded, stored / 10000, rtol=1e-5)
    shown = modality.preprocessing(InputSpec(size=64, mean=(0.0,) * 3, std=(1.0,) * 3))(decoded)
    expected = np.clip(stored / 4095, 0, 1)
    assert expected.max() == 1 and (stored > 4095).mean() > 0.4
    np.testing.assert_allclose(shown, np.broadcast_to(expected, (3, 64, 64)), atol=1e-5)
