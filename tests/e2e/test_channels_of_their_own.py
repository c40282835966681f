"""A sensor of five bands beside RGB, each with a stem of its own number of channels: from a recipe to a verified bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from edgefw.cli.main import run

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
COLOURS = ("red", "green", "blue")
RECIPE = """
seed: 3
data: {{name: csv, file: scenes.csv}}
modalities:
  rgb: {{name: rgb}}
  ms: {{name: multispectral, bands: [1, 2, 3, 4, 5], take: bands, low: 0.0, high: 1.0}}
teacher: {{name: tiny-colours}}
student: {{name: tiny-trunk}}
curate: {{labels: [red, green, blue], keep: 1.0}}
train: [{train}]
export: {{quantizers: []}}
compute: {{device: cpu}}
verify: {{min_cosine: 0.9, max_slowdown: null}}
"""
STEPS = "steps: 2, batch: 6"
PHASE = (
    "{{name: distil, scheme: {{name: split-stem, channels: {channels}}}, losses: [{{name: feature}}], " + STEPS + "}}"
)
MID = (
    "{name: transfer, scheme: {name: split-stem, match: mid, channels: {ms: 5}}, "
    "losses: [{name: feature, of: map, against: reference, distance: mse}], " + STEPS + "}"
)


def phase(scheme: str) -> str:
    return f"{{name: first, scheme: {scheme}, losses: [{{name: feature}}], {STEPS}}}"


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures whose colour is the class, the same as the first three of five bands; one scene has no bands."""
    monkeypatch.syspath_prepend(TINY)
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
    rng, rows = np.random.default_rng(0), ["id,split,label,rgb,ms"]
    for number in range(30):
        channel, split = number % 3, ("train", "train", "train", "val", "test")[number % 5]
        pixels = rng.integers(0, 60, (20, 20, 3))
        pixels[..., channel] += 150
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number}.png")
        bands = np.concatenate([pixels / 255, rng.random((20, 20, 2))], axis=2)
        np.save(tmp_path / f"{number}.npy", bands.astype(np.float32))
        for sensor, ending in (("rgb", "png"), ("ms", "npy")) if split == "test" else ():
            folder = tmp_path / "held" / sensor / COLOURS[channel]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / f"{number}.{ending}", folder)
        bands_file = "" if number == 5 else f"{number}.npy"
        rows.append(f"{number},{split},{COLOURS[channel]},{number}.png,{bands_file}")
    (tmp_path / "scenes.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def recipe(scenes: Path, train: str) -> str:
    file = scenes / "recipe.yaml"
    file.write_text(RECIPE.format(train=train))
    return str(file)


@pytest.mark.slow
@pytest.mark.parametrize(
    "train", [PHASE.format(channels="{ms: 5}"), phase("{name: single-modality, modality: rgb}") + ", " + MID]
)
def test_each_exported_file_takes_the_channels_of_its_sensor(scenes: Path, train: str) -> None:
    assert run(["run", recipe(scenes, train), "--out", str(scenes / "run")]) == 0
    bundle = scenes / "run" / "bundle"
    manifest = json.loads((bundle / "manifest.json").read_text())
    taken = {}
    for artefact in manifest["artefacts"]:
        session = onnxruntime.InferenceSession(bundle / artefact["file"])
        taken[artefact["modalities"][0]] = session.get_inputs()[0].shape[1]
        assert [shape[0] for shape in artefact["inputs"].values()] == [taken[artefact["modalities"][0]]]
    assert taken == {"rgb": 3, "ms": 5}
    assert len(manifest["modalities"]["ms"]["preprocessing"]["steps"][-1]["mean"]) == 5
    folders = [f"{name}={scenes / 'held' / name}" for name in ("rgb", "ms")]
    assert run(["verify", str(bundle), "--data", folders[0], "--data", folders[1]]) == 0


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            PHASE.format(channels="{ms: 4}"),
            (
                "modalities.ms: modality 'multispectral' gives 5 bands (take: bands); the student takes 4 channels. "
                "train[0].scheme states that number for 'ms': state the one that the modality gives."
            ),
        ),
        (
            PHASE.format(channels="{nir: 5}"),
            "train[0].scheme: 'split-stem' is to take 5 channels of 'nir', and the recipe has no such modality. It has: rgb, ms.",
        ),
        (
            PHASE.format(channels="{}"),
            (
                "modalities.ms: modality 'multispectral' gives 5 bands (take: bands); the student takes 3 channels. One student "
                "takes one number of channels from every modality, unless its scheme states another: change student.channels, "
                "the number of bands, or take one band with take: replicate."
            ),
        ),
        (
            phase("{name: dual-modality}") + ", " + PHASE.format(channels="{ms: 5}"),
            (
                "train[0].scheme: it takes 3 channels of 'ms', and the last phase takes 5. State 5 here as well, or use a scheme "
                "that leaves 'ms' to the later phases, such as one of a single modality."
            ),
        ),
    ],
)
def test_numbers_that_do_not_agree_are_one_message_of_check(
    scenes: Path, train: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", recipe(scenes, train)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_check_lists_the_channels_of_each_file(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", recipe(scenes, PHASE.format(channels="{ms: 5}")), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["export"]
    assert [{name: shape[0] for name, shape in row["inputs"].items()} for row in rows] == [{"rgb": 3}, {"ms": 5}]
