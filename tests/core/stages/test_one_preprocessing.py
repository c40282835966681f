"""What `label` feeds a file to the network as, and what `verify` fed it as: the same bits, for every sensor.

Verification takes its contract from the run's recipe, labelling from the bundle's manifest and the file alone.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgefw import engine
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.reporting.progress import SilentProgress
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.labelling import Encoder, read_inputs
from edgefw.runtime.opening import Opener, single_input
from edgefw.stages.held_out import held_out
from edgefw.stages.opened import open_artefacts
from edgefw.stages.trained import load_student
from edgefw.stages.verify_models import Pass
from edgefw.verifying.reverify import finished_run, recipe_of, verifying_context

SENSORS = ("rgb", "depth", "nir", "thermal", "bands")
RECIPE = """
data: {name: csv, file: samples.csv}
modalities:
  rgb: {name: rgb, fit: crop, filter: bicubic}
  depth: {name: depth, encoding: metric-range, near: 0.5, far: 4.0}
  nir: {name: nir, white: 4095, low: 0.1, high: 0.9, missing: 0}
  thermal: {name: thermal, encoding: fixed-range, low: 10.0, high: 40.0, fit: crop}
  bands: {name: multispectral, bands: [4, 2, 1], take: bands, unit_scale: 0.001, low: 0.0, high: 0.7}
teacher: {name: tiny-colours}
student: {name: tiny-trunk}
train: [{name: distil, scheme: {name: dual-modality}, losses: [{name: feature, distance: cosine}], steps: 1, batch: 2}]
export: {backends: [{name: onnxruntime, exporter: legacy, threads: 1}]}
evaluate: {labels: [red, green]}
verify: {max_drop: null, min_cosine: null, max_slowdown: null, max_ms: null}
compute: {device: cpu}
"""


def images(draw: np.random.Generator) -> dict[str, np.ndarray]:
    """One image of each sensor, no square, with holes where a sensor has them, in the units that the recipe states."""
    shape = (19, 26)
    return {
        "rgb": draw.integers(0, 256, (*shape, 3), dtype=np.uint8),
        "depth": draw.integers(400, 4500, shape).astype(np.uint16) * (draw.random(shape) > 0.1).astype(np.uint16),
        "nir": draw.integers(1, 4096, shape).astype(np.uint16) * (draw.random(shape) > 0.1).astype(np.uint16),
        "thermal": draw.integers(27815, 31815, shape).astype(np.uint16),
        "bands": draw.integers(1, 900, (*shape, 4)).astype(np.uint16),
    }


def draw_files(root: Path) -> None:
    draw, rows = np.random.default_rng(5), []
    for split, count in {"train": 4, "val": 2, "test": 3}.items():
        for number in range(count):
            files = []
            for sensor, pixels in images(draw).items():
                files.append(f"{split}-{number}-{sensor}{'.npy' if sensor == 'bands' else '.png'}")
                file = root / files[-1]
                np.save(file, pixels) if sensor == "bands" else Image.fromarray(pixels).save(file)
            rows.append([f"{split}-{number}", split, *files])
    with (root / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "split", *SENSORS], *rows])


@pytest.fixture(scope="module")
def five_sensors(environment, tmp_path_factory) -> Path:
    """A finished run of five sensors, with its data beside it."""
    folder = tmp_path_factory.mktemp("sensors")
    draw_files(folder)
    (folder / "five.yaml").write_text(RECIPE)
    engine.run(read_recipe(str(folder / "five.yaml")), Registry(), folder / "run")
    return folder


@pytest.fixture(scope="module")
def fed_by_verify(five_sensors) -> dict[str, np.ndarray]:
    """Sensor -> the (3, C, H, W) that one walk of verification gives student and artefacts."""
    folder = finished_run(five_sensors / "run")
    context = verifying_context(folder, recipe_of(folder), Registry(), SilentProgress())
    gathered = Pass(context, load_student(context), open_artefacts(context), held_out(context)).run()
    return {role: fed[role] for role, fed in gathered.inputs.items()}


@pytest.mark.parametrize("sensor", SENSORS)
def test_label_and_verify_feed_the_same_array(five_sensors, fed_by_verify, sensor):
    paths = sorted(five_sensors.glob(f"test-*-{sensor}.*"))
    with open_bundle(five_sensors / "run") as opened:
        opener, entry = Opener(opened), opened.artefact(None, sensor)
        encoder = Encoder(
            runner=opener.runner(entry, 1),
            input=single_input(entry),
            modality=opener.modality(sensor),
            preprocessing=opener.preprocessing(sensor),
        )
        fed = dict(read_inputs(encoder, paths))
    assert list(fed) == paths and len(paths) == 3
    for path, verified in zip(paths, fed_by_verify[sensor], strict=True):
        assert fed[path].dtype == verified.dtype == np.float32
        np.testing.assert_array_equal(fed[path], verified)
    assert np.ptp(fed_by_verify[sensor]) > 0.5  # not one grey
