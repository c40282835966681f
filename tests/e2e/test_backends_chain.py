"""A whole run with several backends: each compiles, quantises where it can, is verified, and ends in one bundle."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgefw import engine
from edgefw.cli.doctor import compiler
from edgefw.cli.main import run as command_line
from edgefw.errors import MissingDependency
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry

pytestmark = pytest.mark.slow

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
COLOURS = ("red", "green", "blue")
RECIPE = """
seed: 3
data: {name: csv, file: data/samples.csv}
modalities: {rgb: {name: rgb}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk, width: 96}
train:
  - name: distil
    scheme: {name: dual-modality}
    losses: [{name: feature, distance: cosine}]
    optimiser: {lr: 3e-2}
    steps: 40
    batch: 12
    select: {by: last}
export: {backends: %s, quantizers: %s, calibration: 12}
evaluate: {template: ["a photo of a {}", "a {} wall"], batch: 5}
verify: {min_cosine: 0.9, max_drop: 40.0, max_slowdown: null}
compute: {device: cpu, log_every: 20, threads: 1}
"""


def draw(root: Path, counts: dict[str, int]) -> None:
    """Noise with one strong channel."""
    rng = np.random.default_rng(0)
    root.mkdir()
    rows = []
    for split, count in counts.items():
        for channel, name in enumerate(COLOURS):
            for number in range(count):
                pixels = rng.integers(0, 60, (20, 20, 3))
                pixels[..., channel] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(root / f"{split}-{name}-{number}.png")
                rows.append([f"{split}-{name}-{number}", split, name, f"{split}-{name}-{number}.png"])
    with (root / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "split", "label", "rgb"], *rows])


@pytest.mark.parametrize(
    ("backend", "more"),
    [("openvino", ["int8-static"]), ("ncnn", []), ("aoti", []), ("executorch", ["int8-pt2e"])],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_with_a_second_backend_ends_in_a_bundle_that_labels(tmp_path, capsys, monkeypatch, backend, more):
    pytest.importorskip("torch" if backend == "aoti" else backend)
    if backend == "aoti" and compiler()["path"] is None:
        pytest.skip("there is no C++ compiler")
    monkeypatch.syspath_prepend(TINY)
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
    monkeypatch.delenv("EDGEFW_CACHE", raising=False)
    draw(tmp_path / "data", {"train": 6, "val": 2, "test": 4})
    quantizers = ", ".join(f"{{name: {word}}}" for word in dict.fromkeys(["int8-static", *more]))
    backends = f"[{{name: onnxruntime, exporter: legacy}}, {{name: {backend}}}]"
    (tmp_path / "tiny.yaml").write_text(RECIPE % (backends, f"[{quantizers}]"))
    result = engine.run(read_recipe(str(tmp_path / "tiny.yaml")), Registry(), tmp_path / "run")
    rows = {row["backend"] + "-" + row["precision"]: row for row in result["artefacts"]}
    names = {f"onnxruntime-{word}" for word in ("fp32", "int8-static")} | {f"{backend}-{w}" for w in ("fp32", *more)}
    assert set(rows) == names
    assert rows[f"{backend}-fp32"]["cosine_min"] > 0.9999
    assert all(row["cosine_mean"] > 0.9 and row["latency_ms_p50"] > 0 for row in rows.values())
    for name in names:
        files = sorted(path.name for path in (tmp_path / "run" / "export" / name).iterdir())
        assert len(files) == 2 and "artefact.json" in files, files
    for name in sorted(names):
        capsys.readouterr()
        bundle, pictures = str(tmp_path / "run" / "bundle"), str(tmp_path / "data" / "test-red-0.png")
        assert command_line(["label", bundle, pictures, "--artefact", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["counts"] == {"red": 1}


def test_a_backend_that_cannot_compile_here_stops_the_run_before_training(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TINY)
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
    monkeypatch.setenv("CXX", "no-such-compiler")
    draw(tmp_path / "data", {"train": 6, "val": 2, "test": 4})
    (tmp_path / "tiny.yaml").write_text(RECIPE % ("[{name: aoti}]", "[]"))
    recipe = read_recipe(str(tmp_path / "tiny.yaml"))
    with pytest.raises(
        MissingDependency, match=r"backend 'aoti': compiling needs a C\+\+ compiler, and there is no 'no-su"
    ):
        engine.run(recipe, Registry(), tmp_path / "run")
    assert not (tmp_path / "run" / "train").exists()
    assert engine.run(recipe, Registry(), tmp_path / "run", until="train", resume=True)["until"] == "train"
