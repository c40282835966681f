"""Heat maps on the device: what the student saw of an image, how cells lie over it, and cosines against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from edgefw.contracts.student import InputSpec
from edgefw.errors import BundleError
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.heat import Cells, heat_maps, seen_box
from edgefw.runtime.label_pack import Label, LabelPack


def contract(fit: str, size: int = 16):
    return Rgb(RgbConfig(fit=fit)).preprocessing(InputSpec(size=size))


def test_a_stretched_image_is_seen_whole_and_a_cropped_one_in_its_middle():
    assert seen_box(contract("stretch"), 30, 40) == (0, 0, 40, 30)
    assert [step.name for step in contract("crop").steps][:2] == ["resize", "centre-crop"]
    left, top, right, bottom = seen_box(contract("crop"), 32, 64)  # to 16 x 32, then columns 8 to 24
    assert (left, top, right, bottom) == (16, 0, 48, 32)


def test_what_is_in_the_box_is_what_reaches_the_student():
    image = np.zeros((32, 64, 3), np.uint8)
    left, top, right, bottom = (int(edge) for edge in seen_box(contract("crop"), 32, 64))
    image[top:bottom, left:right] = 255
    assert contract("crop").geometry(image).min() > 200


def cells(rows: int, columns: int, box=(0.0, 0.0, 40.0, 20.0)) -> Cells:
    draw = np.random.default_rng(0)
    return Cells(embeddings=draw.normal(size=(rows, columns, 8)).astype(np.float32), box=box)


def test_cosines_are_those_of_each_cell_to_the_nearest_vector():
    draw = np.random.default_rng(1)
    vectors = [draw.normal(size=(count, 8)).astype(np.float32) for count in (1, 3)]
    labels = [Label(name=str(number), vectors=rows) for number, rows in enumerate(vectors)]
    heat = cells(2, 3).cosines(LabelPack(labels=labels, logit_scale=10.0, encoder="e" * 64))
    assert heat.shape == (2, 2, 3)
    for at in np.ndindex(2, 3):
        e = cells(2, 3).embeddings[at]
        for number, rows in enumerate(vectors):
            expected = max(float(e @ v / np.linalg.norm(e) / np.linalg.norm(v)) for v in rows)
            assert heat[(number, *at)] == pytest.approx(expected, abs=1e-5)


def test_the_peak_is_the_centre_of_the_hottest_cell():
    heat = np.zeros((2, 4), np.float32)
    heat[1, 2] = 1.0
    assert cells(2, 4).peak(heat) == (25.0, 15.0)
    assert cells(2, 4, box=(16.0, 0.0, 48.0, 32.0)).peak(heat) == (36.0, 24.0)


def test_a_map_spreads_over_the_box_alone_and_keeps_its_range():
    heat = np.array([[0.0, 0.0], [0.0, 1.0]], np.float32)
    over = cells(2, 2, box=(10.0, 0.0, 30.0, 20.0)).spread(heat, (20, 40))
    assert np.isnan(over[:, :10]).all() and np.isnan(over[:, 30:]).all() and np.isfinite(over[:, 10:30]).all()
    assert over[:, 10:30].min() == 0.0 and over[19, 29] == 1.0
    assert over[4, 14] == 0.0 and over[15, 25] == pytest.approx(1.0, abs=0.06)


def test_a_bundle_with_a_map_finds_the_coloured_corner(tmp_path, small_bundle):
    folder = small_bundle.add_map(small_bundle.write_small_bundle(tmp_path / "bundle"))
    image = np.full((32, 32, 3), small_bundle.COLOURS["blue"], np.uint8)
    image[16:, 16:] = small_bundle.COLOURS["red"]
    with open_bundle(folder) as bundle:
        found, pack = heat_maps(bundle, "rgb", 1).look(image), bundle.label_pack()
    red = found.cosines(pack)[pack.names.index("red")]
    assert (red[2:, 2:].min() - red[:2, :2].max()) > 0.1
    x, y = found.peak(red)
    assert x > 16 and y > 16


def test_a_manifest_without_maps_does_not_mention_them_and_a_damaged_map_is_found(tmp_path, small_bundle):
    folder = small_bundle.write_small_bundle(tmp_path / "bundle")
    assert "maps" not in (folder / "manifest.json").read_text()
    with open_bundle(folder) as bundle, pytest.raises(BundleError, match="the bundle has no map of rgb images"):
        heat_maps(bundle, "rgb")
    small_bundle.add_map(folder)
    file = folder / "maps/map-onnxruntime-fp32/model.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match="model.onnx"), open_bundle(folder):
        pass
