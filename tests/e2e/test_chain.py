"""The whole chain on a recipe of seconds: from pictures to a bundle that labels them, and what a second run does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgefw import engine
from edgefw.cli.main import run as edgefw
from edgefw.errors import GateFailed
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.run_folder import RunFolder

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
RECIPE = """
seed: 3
data: {name: folder, root: data}
modalities: {rgb: {name: rgb}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk}
curate: {labels: [red, green, blue, grey], keep: 0.5}
train:
  - name: distil
    scheme: {name: dual-modality}
    losses: [{name: feature}]
    optimiser: {lr: 1e-2}
    steps: 20
    batch: 8
export: {quantizers: [{name: int8-static}], calibration: 12}
compute: {device: cpu}
verify: {max_drop: 50, min_cosine: 0.9, max_slowdown: null}
"""


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TINY)
        patch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
        patch.delenv("EDGEFW_CACHE", raising=False)
        yield patch


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("chain")
    draw(folder / "data", {"train": 8, "val": 2, "test": 4})
    (folder / "tiny.yaml").write_text(RECIPE)
    run(folder)
    return folder


def draw(root: Path, counts: dict[str, int]) -> None:
    """Noise with one strong channel, in folders by colour."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for channel, name in enumerate(("red", "green", "blue")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 60, (20, 20, 3))
                pixels[..., channel] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{number}.png")


def run(project: Path, *overrides: str) -> dict[str, Any]:
    return engine.run(read_recipe(str(project / "tiny.yaml"), overrides), Registry(), project / "run")


def test_every_stage_is_complete_and_the_result_holds_every_model(project: Path) -> None:
    folder = RunFolder(project / "run")
    assert all(folder.completed(name) for name in ("curate", "train", "export", "verify", "report"))
    result = folder.read_json("result.json")
    assert (result["status"], result["until"]) == ("ok", None)
    models = {row["model"] for row in result["evaluation"]}
    assert models == {"teacher", "student", "onnxruntime-fp32", "onnxruntime-int8-static"}
    top1 = {row["model"]: row["value"] for row in result["evaluation"] if row["metric"] == "top1"}
    assert top1 == dict.fromkeys(models, 1.0)
    for artefact in result["artefacts"]:
        file = project / "run" / artefact["path"]
        assert file.stat().st_size == artefact["bytes"]
        assert artefact["latency_ms_p50"] > 0
        assert artefact["cosine_mean"] > 0.99
    assert (project / "run" / "report.html").read_text().rstrip().endswith("</html>")
    assert not list((project / "run").glob("*.partial"))


def test_curation_stores_pictures_of_the_surest_kept_and_left_out(project: Path) -> None:
    rows = RunFolder(project / "run").result("curate")["per_label"]
    pictures = [card for row in rows for card in row["pictures"]]
    assert {card["kept"] for card in pictures} == {True, False}
    assert all((project / "run" / card["picture"]).is_file() for card in pictures)
    assert "Pictures of each label (3)" in (project / "run" / "report.html").read_text()


def test_the_bundle_labels_a_picture(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = project / "new.png"
    Image.new("RGB", (30, 20), (20, 20, 220)).save(picture)
    assert edgefw(["label", str(project / "run" / "bundle"), str(picture), "--json"]) == 0
    assert '"blue"' in capsys.readouterr().out


def test_a_second_run_skips_every_stage(project: Path) -> None:
    assert {row["name"]: row["skipped"] for row in run(project)["stages"]} == dict.fromkeys(
        ("curate", "train", "export", "verify", "report"), True
    )


def test_a_missed_budget_is_exit_1_with_everything_written(project: Path) -> None:
    with pytest.raises(GateFailed, match=r"budget of verify was not met.*\n  .*max_mb is .*, the budget is 1e-06"):
        run(project, "verify.max_mb=0.000001")
    result = json.loads((project / "run" / "result.json").read_text())
    assert result["status"] == "gate-failed"
    skipped = {row["name"]: row["skipped"] for row in result["stages"]}
    assert skipped == {"curate": True, "train": True, "export": True, "verify": False, "report": False}
    assert (project / "run" / "bundle" / "manifest.json").is_file()


@pytest.mark.slow
def test_two_launched_processes_make_one_run(tmp_path: Path) -> None:
    draw(tmp_path / "data", {"train": 8, "val": 2, "test": 4})
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    own = {"PYTHONPATH": str(TINY), "EDGEFW_PLUGINS": "edgefw-tiny", "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "edgefw"]
    done = subprocess.run(
        [*launcher, "run", "tiny.yaml", "curate.keep=1.0", "--json"],
        check=False,
        cwd=tmp_path,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == ["tiny-1"]
    assert json.loads(done.stdout) == RunFolder(tmp_path / "runs" / "tiny-1").read_json("result.json")
    assert (tmp_path / "runs" / "tiny-1" / "diary.txt").read_text().count("start train") == 1
