"""Three sensors in one student, samples that lack some of them, and a student of five bands: whole runs of seconds."""

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

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
COLOURS = ("red", "green", "blue")
THREE = """
seed: 3
data: {name: csv, file: scenes.csv}
modalities: {rgb: {name: rgb}, depth: {name: depth}, thermal: {name: thermal}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk}
curate: {labels: [red, green, blue, grey], keep: 1.0}
train:
  - name: distil
    scheme: {name: dual-modality}
    losses: [{name: feature}]
    optimiser: {lr: 1e-2}
    steps: 12
    batch: 6
export: {quantizers: [{name: int8-static}], calibration: 8}
compute: {device: cpu}
verify: {max_drop: 100, min_cosine: 0.5, max_slowdown: null}
"""
BANDS = """
seed: 3
data: {name: csv, file: bands.csv}
modalities:
  ms: {name: multispectral, bands: [1, 2, 3, 4, 5], take: bands, picture: [3, 2, 1], high: 1.0, low: 0.0}
teacher: {name: tiny-colours}
student: {name: timm, model: test_resnet, size: 32, channels: 5}
curate: {labels: [red, green, blue, grey], keep: 1.0}
train:
  - {name: distil, scheme: {name: single-modality}, losses: [{name: feature}], steps: 4, batch: 6}
export: {quantizers: []}
compute: {device: cpu}
verify: {min_cosine: 0.9, max_slowdown: null}
"""


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TINY)
        patch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
        patch.delenv("EDGEFW_CACHE", raising=False)
        yield patch


def missing(number: int) -> set[str]:
    """What sample `number` of a split lacks: in turn nothing, depth, thermal, the photograph."""
    return ({"nothing"}, {"depth"}, {"thermal"}, {"rgb"})[number % 4]


def pictures(number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A photograph with one strong channel; depth and heat that go with it."""
    colour = number % 3
    rgb = rng.integers(0, 60, (20, 20, 3))
    rgb[..., colour] += 150
    slope = np.linspace(0, 1, 20)[None, :] ** (colour + 1)
    depth = 1000 + 2000 * slope + rng.normal(0, 5, (20, 20))
    thermal = 29000 + 1500 * slope.T + rng.normal(0, 5, (20, 20))
    return {
        "rgb": rgb.astype(np.uint8),
        "depth": depth.astype(np.uint16),
        "thermal": thermal.astype(np.uint16),
    }


def write_scenes(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["id,split,label,rgb,depth,thermal"]
    for split, count in {"train": 24, "val": 12, "test": 12}.items():
        for number in range(count):
            cells = []
            for name, values in pictures(number, rng).items():
                path = f"{split}-{number}.{name}.png"
                Image.fromarray(values).save(folder / path)
                cells.append("" if name in missing(number) else path)
            rows.append(f"{split}-{number},{split},{COLOURS[number % 3]},{','.join(cells)}")
    (folder / "scenes.csv").write_text("\n".join(rows))


def run(recipe: Path, *overrides: str) -> dict[str, Any]:
    return engine.run(read_recipe(str(recipe), overrides), Registry(), recipe.parent / "run")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("three")
    write_scenes(folder)
    (folder / "three.yaml").write_text(THREE)
    run(folder / "three.yaml")
    return folder


def stage(folder: Path, name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "run" / name / "result.json").read_text())
    return result


def test_curation_keeps_every_sample_that_the_teacher_can_see(three: Path) -> None:
    curated = stage(three, "curate")
    assert (curated["total"], curated["kept"], curated["without_teacher_image"]) == (24, 18, 6)
    assert curated["skipped"] == 0


def test_verification_counts_each_sensor_where_it_is_present(three: Path) -> None:
    rows = json.loads((three / "run" / "result.json").read_text())["evaluation"]
    models = {row["model"] for row in rows}
    assert models == {"teacher", "student", "onnxruntime-fp32", "onnxruntime-int8-static"}
    seen = {(row["model"], row["modality"]): row["n"] for row in rows if row["metric"] == "top1"}
    assert seen == {(model, name): 9 for model in models for name in ("rgb", "depth", "thermal")}


def test_one_graph_of_the_bundle_labels_all_three(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((three / "run" / "bundle" / "manifest.json").read_text())
    assert all(name in json.dumps(manifest) for name in ("rgb", "depth", "thermal"))
    for name in ("rgb", "depth", "thermal"):
        image = str(three / f"test-0.{name}.png")
        assert edgefw(["label", str(three / "run" / "bundle"), image, "--modality", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["modality"] == name


def test_a_training_step_gives_a_row_to_every_image_that_is_there_and_to_no_other() -> None:
    from edgefw.testing.fakes import scheme_batch, student_network
    from edgefw.training.rows import forward_rows

    names = ("rgb", "depth", "thermal")
    batch = scheme_batch(names, size=4, missing={"depth": [1], "thermal": [2, 3]})
    rows = forward_rows(student_network(), batch, names, names)
    pairs = list(zip(rows.modality.tolist(), (rows.sample - 10).tolist(), strict=True))
    assert pairs == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3), (2, 0), (2, 1)]


@pytest.fixture
def bands(tmp_path: Path, patch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(1)
    rows = ["id,split,label,ms"]
    for split, count in {"train": 12, "val": 6, "test": 6}.items():
        for number in range(count):
            stored = rng.integers(0, 2000, (24, 24, 5))
            stored[..., 2 - number % 3] += 6000  # blue, green, red, as satellites store them
            np.save(tmp_path / f"{split}-{number}.npy", stored.astype(np.uint16))
            rows.append(f"{split}-{number},{split},{COLOURS[number % 3]},{split}-{number}.npy")
    (tmp_path / "bands.csv").write_text("\n".join(rows))
    (tmp_path / "bands.yaml").write_text(BANDS)
    return tmp_path / "bands.yaml"


def test_bands_that_a_student_does_not_take_end_the_run_before_any_work(bands: Path) -> None:
    with pytest.raises(
        CapabilityError, match=r"^modalities.ms: .* 5 bands \(take: bands\); the student takes 3 channels"
    ):
        run(bands, "student.channels=3")
    assert not (bands.parent / "run" / "curate" / "kept.parquet").exists()


@pytest.mark.slow
def test_a_student_of_five_bands_learns_from_the_picture_in_the_same_file(bands: Path) -> None:
    result = run(bands)
    top1 = {row["model"]: row["value"] for row in result["evaluation"] if row["metric"] == "top1"}
    assert top1["teacher"] == 1.0 and set(top1) == {"teacher", "student", "onnxruntime-fp32"}
    artefact = result["artefacts"][0]
    assert artefact["cosine_mean"] > 0.999
    assert edgefw(["label", str(bands.parent / "run" / "bundle"), str(bands.parent / "test-0.npy")]) == 0
