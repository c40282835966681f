"""Two sensors in one graph, from drawn scenes to labels on the device: trained, float and int8, verified, paired, no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edgefw import engine
from edgefw.cli.main import run as edgefw
from edgefw.contracts.dataset import Sample
from edgefw.data.loading import read_image
from edgefw.pieces import Pieces
from edgefw.plugins.backends.onnxruntime import open_session
from edgefw.recipe.compose import compose
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.run_folder import RunFolder
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.preprocessing import Preprocessing
from edgefw.stages.phase_pieces import PhasePieces
from edgefw.training.assemble import load_trained

pytestmark = pytest.mark.slow
RECIPE = """
base: quickstart
data: {train: 48, val: 4, test: 24}
student: {size: 32}
train:
  distil: {scheme: {name: cross-attention}, steps: 10, epochs: null, batch: 16, cache: {views: 1}, select: {by: last}}
export: {calibration: 16}
verify: {max_drop: null, min_cosine: 0.95, max_ms: null, max_slowdown: null}
compute: {device: cpu, workers: 0}
"""
QAT = ["train.distil.quantizer={name: int8-qat}", "export.quantizers=[]", "verify.min_cosine=0.99"]
FILES = {
    "static": ("onnxruntime-fp32", "onnxruntime-int8-static"),
    "qat": ("onnxruntime-int8-qat",),
}


@pytest.fixture(scope="module", params=["static", "qat"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "pairs.yaml").write_text(RECIPE)
    recipe = read_recipe(str(folder / "pairs.yaml"), QAT if request.param == "qat" else ())
    engine.run(recipe, Registry(), folder / request.param)
    return folder / request.param


@pytest.fixture(scope="module")
def samples(run: Path) -> list[Sample]:
    """The held-out scenes."""
    recipe = read_recipe(str(run / "resolved.yaml"))
    return list(Pieces(compose(recipe, Registry()), _cache(run)).listing("test").samples)


@pytest.fixture(scope="module")
def folders(run: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`rgb/<label>/<id>.jpg` and `depth/<label>/<id>.png`; the first scene has no depth, the second no photograph."""
    root = tmp_path_factory.mktemp("device")
    for number, sample in enumerate(samples):
        for name, reference in sample.images.items():
            if (number, name) in ((0, "depth"), (1, "rgb")):
                continue
            path = root / name / str(sample.label) / f"{sample.id}.{'jpg' if name == 'rgb' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(reference.read())
    return root


def _cache(run: Path) -> Path:
    from edgefw.engine import cache_folder

    return cache_folder(RunFolder(run))


def test_every_file_is_verified_under_its_own_role(run: Path) -> None:
    verified = RunFolder(run).read_json("verify/result.json")
    names = FILES[run.name]
    found = {row["name"]: row["serves"] for row in verified["artefacts"]}
    assert found == {**{n: ["rgb", "depth"] for n in names}, **{f"{n}-rgb+depth": ["rgb+depth"] for n in names}}
    assert all(row["cosine_mean"] > 0.95 and row["latency_ms_p50"] > 0 for row in verified["artefacts"])
    assert all((row["batch_relative_error"] or 0) < 0.05 for row in verified["artefacts"])
    timed = [row for row in verified["artefacts"] if row["precision"] != "fp32"]
    assert timed and all(row["slowdown"] > 0 and row["float_ms_p50"] > 0 for row in timed)
    top1 = {(row["model"], row["modality"]): row["n"] for row in verified["evaluation"] if row["metric"] == "top1"}
    assert top1["student", "rgb+depth"] == top1[f"{names[0]}-rgb+depth", "rgb+depth"] == 24
    assert ("teacher", "rgb+depth") not in top1
    assert verified["best"] in names


def test_the_file_gives_what_the_trained_network_gives_in_any_batch(run: Path, samples: list[Sample]) -> None:
    recipe = read_recipe(str(run / "resolved.yaml"))
    composition = compose(recipe, Registry())
    pieces = Pieces(composition, _cache(run))
    context: Any = type("Context", (), {"pieces": pieces, "recipe": recipe})()
    phase = PhasePieces(context, composition.phases[0], 0)
    network = load_trained(
        run / "train/distil/student.safetensors", pieces.student_network(), phase.scheme, phase.quantizer
    )
    images = {
        name: np.stack([Preprocessing.from_json(sensor.preprocessing(pieces.student_spec.input).to_json())(
            read_image(sample, name, sensor)) for sample in samples[:5]])
        for name, sensor in pieces.modalities.items()
    }  # fmt: skip
    scheme: Any = phase.scheme

    def said(shown: dict[str, np.ndarray]) -> np.ndarray:
        with torch.no_grad():
            return scheme.embed_together(network, {name: torch.from_numpy(own) for name, own in shown.items()}).numpy()

    wanted = said(images)
    session = open_session(run / f"export/{FILES[run.name][0]}-rgb+depth/model.onnx", 1)
    limit = max(0.05, 2 * _reaction(said, images, wanted)) if run.name == "qat" else 1e-3
    for count in (1, 3, 5):
        found = session.run(None, {name: own[:count] for name, own in images.items()})[0]
        assert _distance(found, wanted[:count]) < limit


def _distance(found: np.ndarray, wanted: np.ndarray) -> float:
    return float((np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max())


def _reaction(
    said: Callable[[dict[str, np.ndarray]], np.ndarray], images: dict[str, np.ndarray], wanted: np.ndarray
) -> float:
    """How far a network that rounds goes from itself when its input moves by a hundred-thousandth, at worst of eight."""
    draw = np.random.default_rng(0)
    moved = [
        {
            name: own + (1e-5 * own.std() * draw.standard_normal(own.shape)).astype(np.float32)
            for name, own in images.items()
        }
        for _ in range(8)
    ]
    return max(_distance(said(one), wanted) for one in moved)


def test_the_adapter_is_in_the_file_of_two_images_alone_and_int8_where_the_student_is(run: Path) -> None:
    name = FILES[run.name][-1]
    single, joint = (
        onnx.load(run / "export" / folder / "model.onnx").graph.initializer for folder in (name, f"{name}-rgb+depth")
    )
    sizes = [sum(int(np.prod(part.dims)) for part in parts) for parts in (single, joint)]
    assert sizes[1] > sizes[0]
    matrices = [part for part in joint if len(part.dims) == 2 and min(part.dims) > 8]
    assert len(matrices) >= 5 and {part.data_type for part in matrices} == {onnx.TensorProto.INT8}


def test_pairs_are_labelled_on_the_device_without_torch(run: Path, folders: Path, samples: list[Sample]) -> None:
    script = (
        "import sys\nfrom edgefw.cli.main import run\n"
        f"code = run(['label', {str(run)!r}, 'rgb=rgb', 'depth=depth', '--json'])\n"
        "assert 'torch' not in sys.modules\nsys.exit(code)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=folders)
    document = json.loads(result.stdout)
    roles = {image["path"]: image["modality"] for image in document["images"]}
    assert sorted(roles.values()) == ["depth", "rgb"] + ["rgb+depth"] * (len(samples) - 2)
    predicted = np.load(run / "verify" / "predictions.npz")
    names = RunFolder(run).read_json("verify/result.json")["labels"]
    ids = json.loads((run / "verify" / "ids.json").read_text())
    with open_bundle(run) as opened:
        said = predicted[f"{opened.artefact(None, 'rgb+depth').name}/rgb+depth"]
    told = {Path(image["path"]).stem: image["label"] for image in document["images"] if "+" in image["modality"]}
    assert told == {sample: names[said[ids.index(sample)]] for sample in told}


def test_verify_and_compare_know_the_pairs(
    run: Path, folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders)
    code = edgefw(["verify", str(run), "--data", "rgb=rgb", "--data", "depth=depth", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert code == 0 and result["samples"] == {"rgb": 23, "depth": 23, "rgb+depth": 22}
    assert edgefw(["compare", str(run), str(run), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["table"]
    averages = {row["model"]: (set(row["accuracy"]), row["average"]) for row in table}
    name = FILES[run.name][0]
    assert averages[name][0] == {"rgb", "depth"} and averages[name][1] is not None
    assert averages[f"{name}-rgb+depth"] == ({"rgb+depth"}, None)
    assert averages["student"][0] == {"rgb", "depth", "rgb+depth"} and averages["student"][1] is not None
