"""Distilling, then mined triplets, from pictures of two sensors to trained weights, through the engine and its files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgefw import engine
from edgefw.cli.main import run as edgefw
from edgefw.errors import CapabilityError
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.run_folder import RunFolder

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
RECIPE = """
seed: 3
data: {name: csv, file: scenes.csv}
modalities: {rgb: {name: rgb}, depth: {name: depth}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk}
curate: {labels: [red, green, blue, grey], keep: 0.8}
train:
  - name: distil
    losses: [{name: feature}, {name: supcon, weight: 0.1}, {name: pseudo-label, weight: 0.1}]
    optimiser: {lr: 1e-3}
    epochs: 1
    batch: 8
  - name: align
    sampler: {name: semi-hard-triplet, margin: 0.3}
    losses: [{name: triplet, margin: 0.3, cross_modal: true}]
    optimiser: {lr: 1e-3, final_lr: 1e-4}
    select: {by: agreement}
    epochs: 4
    batch: 4
compute: {device: cpu, log_every: 1}
"""


def draw(root: Path) -> None:
    """Noise with one strong channel and a weaker one, and a depth map whose slope goes with it; every seventh sample has no depth."""
    rng = np.random.default_rng(0)
    rows = ["id,split,label,rgb,depth"]
    slope = np.linspace(500, 4000, 20)
    shapes = {"red": slope[:, None] * np.ones(20), "green": np.ones((20, 1)) * slope, "blue": np.full((20, 20), 2000.0)}
    for split, count in {"train": 14, "val": 4, "test": 4}.items():
        for channel, (label, shape) in enumerate(shapes.items()):
            for number in range(count):
                name = f"{split}-{label}-{number}"
                pixels = rng.integers(0, 60, (20, 20, 3))
                pixels[..., channel] += 150
                pixels[..., (channel + 1 + number % 2) % 3] += rng.integers(0, 140)
                Image.fromarray(pixels.astype(np.uint8)).save(root / f"{name}.png")
                Image.fromarray((shape + rng.integers(0, 300, (20, 20))).astype(np.uint16)).save(root / f"{name}-d.png")
                depth = "" if number % 7 == 6 else f"{name}-d.png"
                rows.append(f"{name},{split},{label},{name}.png,{depth}")
    (root / "scenes.csv").write_text("\n".join(rows))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("triplets")
    draw(folder)
    (folder / "tiny.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TINY)
        patch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
        patch.delenv("EDGEFW_CACHE", raising=False)
        run(folder)
        yield folder


def run(project: Path, *overrides: str, out: str = "run") -> dict[str, Any]:
    return engine.run(read_recipe(str(project / "tiny.yaml"), overrides), Registry(), project / out, until="train")


def metrics(project: Path, out: str = "run") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (project / out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


def test_both_phases_train_and_the_sampler_reports_each_epoch(project: Path) -> None:
    train = RunFolder(project / "run").result("train")
    assert [phase["name"] for phase in train["phases"]] == ["distil", "align"]
    reports = [row for row in metrics(project) if "sampler" in row]
    assert [(row["phase"], row["epoch"]) for row in reports] == [("align", epoch) for epoch in (1, 2, 3, 4)]
    for row in reports:
        counts = row["sampler"]
        assert counts["anchors"] + counts["without_positive"] + counts["without_negative"] == counts["samples"] == 34
    assert reports[0]["sampler"]["anchors"] >= 4
    steps = [row for row in metrics(project) if row["phase"] == "align" and "losses" in row]
    assert len(steps) == train["phases"][1]["steps"] == sum(int(row["sampler"]["anchors"]) // 4 for row in reports)
    assert set(steps[0]["losses"]) == {"triplet"} and steps[0]["losses"]["triplet"] > 0
    assert train["phases"][1]["selected"]["by"] == "agreement"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_metrics_and_weights(project: Path) -> None:
    run(project, out="again")
    assert metrics(project, "again") == metrics(project)
    weights = "train/align/student.safetensors"
    assert (project / "again" / weights).read_bytes() == (project / "run" / weights).read_bytes()


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do_and_another_margin_trains_the_second_phase_only(project: Path) -> None:
    assert {row["name"]: row["skipped"] for row in run(project)["stages"]} == {"curate": True, "train": True}
    before = (project / "run" / "train" / "distil" / "student.safetensors").stat().st_mtime_ns
    run(project, "train.1.sampler.margin=0.4")
    assert (project / "run" / "train" / "distil" / "student.safetensors").stat().st_mtime_ns == before


def test_the_plan_counts_groups_and_says_an_upper_bound(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edgefw(["check", str(project / "tiny.yaml"), "--json"]) == 0
    align = json.loads(capsys.readouterr().out)["phases"][1]
    assert (align["name"], align["steps"]) == ("align", 4 * align["steps_per_epoch"])
    assert align["steps_per_epoch"] == 34 // 4


def test_selecting_by_a_loss_that_validation_cannot_measure_is_refused_before_anything_runs(project: Path) -> None:
    with pytest.raises(CapabilityError, match=r"train\[1\].select.by: loss is not measured .* no groups for 'triplet'"):
        run(project, "train.1.select.by=loss", out="refused")
    assert not (project / "refused").exists()


def test_triplets_without_groups_are_refused(project: Path) -> None:
    with pytest.raises(CapabilityError, match=r"'triplet' needs sampler.groups; sampler 'shuffle' provides nothing"):
        run(project, "train.1.sampler={name: shuffle}", out="refused")
