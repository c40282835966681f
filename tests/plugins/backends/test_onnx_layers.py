"""Layers of ONNX files: each output is what NumPy computes, int8 pairs stand for their tensor, a wrong scale is named."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefw.errors import ExportError
from edgefw.plugins.backends.onnx_layers import layer_outputs
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.runtime.bundle import open_bundle
from edgefw.stages.departure import FLOAT_LIMIT, ROUNDED_LIMIT, departures, first

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def files(tmp_path_factory, small_bundle):
    """The float and the int8 file of the small encoder: a convolution, an average, a matrix."""
    with open_bundle(small_bundle.write_small_bundle(tmp_path_factory.mktemp("layers") / "bundle")) as bundle:
        return {entry.precision: bundle.file(entry) for entry in bundle.manifest.artefacts}


@pytest.fixture(scope="module")
def feeds(small_bundle):
    contract = small_bundle.Rgb(small_bundle.RgbConfig()).preprocessing(small_bundle.INPUT)
    rows = [contract(small_bundle.picture(colour, 7)) for colour in small_bundle.COLOURS.values()]
    return {"image": np.stack(rows)}


@pytest.fixture
def faults(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "backends"))
    return importlib.import_module("graph_faults")


def changed(file, change, target):
    model = onnx.load(file)
    name = change(model)
    onnx.save(model, target)
    return name


def test_the_last_layers_are_what_numpy_computes(files, feeds):
    layers = {layer.tensor: layer for layer in layer_outputs(files["fp32"], feeds)}
    assert [layers[name].operator for name in ("image", "a", "b", "c", "embedding")] == [
        "Input", "Conv", "GlobalAveragePool", "Flatten", "Gemm"
    ]  # fmt: skip
    mix = next(own for own in onnx.load(files["fp32"]).graph.initializer if own.name == "mix")
    pooled = layers["a"].values.mean((2, 3))
    np.testing.assert_allclose(layers["c"].values, pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layers["embedding"].values, pooled @ numpy_helper.to_array(mix).T, rtol=1e-4, atol=1e-4)


def test_the_file_on_disk_stays_as_it_is(files, feeds):
    before = files["fp32"].read_bytes()
    layer_outputs(files["fp32"], feeds)
    assert files["fp32"].read_bytes() == before


def test_no_layer_of_a_right_int8_file_is_blamed(files, feeds):
    rows = departures(layer_outputs(files["fp32"], feeds), layer_outputs(files["int8-static"], feeds))
    assert any(row.operator == "DequantizeLinear" for row in rows)
    assert first(rows, ROUNDED_LIMIT) is None
    assert max(row.error for row in rows) > FLOAT_LIMIT


@pytest.mark.parametrize(("precision", "fault", "limit"), [
    ("fp32", "scaled_by_2", FLOAT_LIMIT),
    ("int8-static", "int8_weight_scale", ROUNDED_LIMIT),
    ("int8-static", "int8_activation_scale", ROUNDED_LIMIT),
])  # fmt: skip
def test_the_wrong_layer_is_named(files, feeds, faults, tmp_path, precision, fault, limit):
    name = changed(files[precision], getattr(faults, fault), tmp_path / "wrong.onnx")
    rows = departures(layer_outputs(files["fp32"], feeds), layer_outputs(tmp_path / "wrong.onnx", feeds))
    blamed = first(rows, limit)
    assert blamed is not None
    assert blamed.layer == name
    assert blamed.own == pytest.approx(1.0, abs=0.1)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match="its layers cannot be looked at"):
        OnnxRuntimeBackend(OnnxRuntimeConfig()).layers(tmp_path / "bad.onnx", {"image": np.zeros((1, 3, 16, 16))})
