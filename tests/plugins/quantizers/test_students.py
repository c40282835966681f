"""Int8 of real student networks: how close it stays, and how small it gets. Untrained weights, so numeric damage only."""

import numpy as np
import pytest
import torch

from edgefw.contracts.backend import CompileRequest
from edgefw.contracts.quantizer import Calibration
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.plugins.quantizers.int8_dynamic import DynamicConfig, Int8Dynamic
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig

pytestmark = pytest.mark.slow


def blocks(count, size, seed):
    """Images of coloured blocks, normalised: (count, 3, size, size)."""
    rng = np.random.default_rng(seed)
    return np.repeat(np.repeat(rng.normal(size=(count, 3, size // 8, size // 8)), 8, 2), 8, 3).astype(np.float32)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """Compile a timm model once: (backend, float file, held-out images, what the float file says)."""
    timm = pytest.importorskip("timm")

    def make(model, size=64, **options):
        torch.manual_seed(0)
        network = timm.create_model(model, num_classes=64, **options)
        with torch.no_grad():
            for seed in range(3):
                network(torch.from_numpy(blocks(16, size, seed)))
        folder = tmp_path_factory.mktemp(model)
        backend = OnnxRuntimeBackend(OnnxRuntimeConfig(exporter="legacy", threads=1))
        artefact = backend.compile(
            CompileRequest(
                network=network.eval(),
                inputs={"image": (3, size, size)},
                folder=folder,
                examples={"image": blocks(4, size, 5)},
            )
        )
        images = blocks(32, size, 9)
        return backend, artefact.file, images, backend.open(artefact.file).run({"image": images})

    return make


def calibration(size=64):
    rows = blocks(64, size, 4)
    return Calibration(batches=lambda: ({"image": rows[at : at + 16]} for at in range(0, 64, 16)), samples=64)


def mean_cosine(one, other):
    return float(((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).mean())


@pytest.mark.parametrize(
    ("model", "options", "least"),
    [
        ("mobilenetv3_small_100", {}, 0.999),
        ("fastvit_t8", {}, 0.999),
        ("vit_tiny_patch16_224", {"img_size": 64}, 0.997),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"activation": "int8"}, {"ranges": "percentile"}])
def test_static_int8_stays_close_and_is_less_than_a_third(student, model, options, least, settings):
    backend, file, images, expected = student(model, **options)
    target = file.with_name("int8.onnx")
    Int8Static(StaticConfig(**settings), "q").quantize(file, target, calibration())
    assert mean_cosine(expected, backend.open(target).run({"image": images})) > least
    assert target.stat().st_size < file.stat().st_size / 3


def test_dynamic_int8_suits_a_transformer(student):
    backend, file, images, expected = student("vit_tiny_patch16_224", img_size=64)
    target = file.with_name("dynamic.onnx")
    report = Int8Dynamic(DynamicConfig(), "q").quantize(file, target, calibration())
    assert mean_cosine(expected, backend.open(target).run({"image": images})) > 0.997
    assert target.stat().st_size < file.stat().st_size / 3
    assert report.warnings == ("1 convolutions stay float: dynamic int8 would make them slower.",)
