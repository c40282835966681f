"""The resampler against Pillow, torchvision and torch on their own ground."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgefw.runtime.resampling import natural_filter, resample

RNG = np.random.default_rng(3)
PICTURE = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
FLOATS = RNG.normal(size=(37, 53)).astype(np.float32)


def interpolate(values: np.ndarray, size: tuple[int, int], mode: str, antialias: bool) -> np.ndarray:
    tensor = torch.from_numpy(values)[None, None].double()
    return torch.nn.functional.interpolate(tensor, size, mode=mode, antialias=antialias)[0, 0].float().numpy()


@pytest.mark.parametrize("filter", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
def test_an_rgb_picture_is_resized_exactly_as_pillow_does(filter: str) -> None:
    expected = Image.fromarray(PICTURE).resize((24, 16), getattr(Image.Resampling, filter.upper()))
    assert np.array_equal(resample(PICTURE, (16, 24), filter), np.asarray(expected))


@pytest.mark.parametrize("size", [(16, 24), (90, 100), (37, 20)])
def test_float_maps_are_resized_as_torch_does_with_antialias(size: tuple[int, int]) -> None:
    np.testing.assert_allclose(
        resample(FLOATS, size, "bilinear"), interpolate(FLOATS, size, "bilinear", True), atol=1e-5
    )


@pytest.mark.parametrize("size", [(16, 24), (90, 100), (37, 20)])
def test_float_maps_are_resized_as_torch_does_without_antialias(size: tuple[int, int]) -> None:
    expected = interpolate(FLOATS, size, "bilinear", False)
    np.testing.assert_allclose(resample(FLOATS, size, "bilinear", antialias=False), expected, atol=1e-4)


def test_many_channels_are_resized_one_by_one() -> None:
    cube = RNG.normal(size=(20, 30, 7)).astype(np.float32)
    result = resample(cube, (11, 13), "bilinear")
    assert result.shape == (11, 13, 7)
    np.testing.assert_array_equal(result[:, :, 4], resample(cube[:, :, 4], (11, 13), "bilinear"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64, np.bool_])
def test_the_dtype_stays(dtype: type) -> None:
    values = (FLOATS > 0).astype(dtype)
    assert resample(values, (8, 8), "bilinear").dtype == dtype


def test_integers_are_rounded_and_clipped_to_their_range() -> None:
    step = np.zeros((4, 64), np.uint16)
    step[:, 32:] = 65535
    result = resample(step, (4, 200), "bicubic")
    assert result.min() == 0 and result.max() == 65535
    assert (np.diff(result[0].astype(int)) >= 0).all()


def test_a_box_is_a_crop_in_fractions_of_pixels() -> None:
    ramp = np.tile(np.arange(40, dtype=np.float32), (4, 1))  # value = column index
    result = resample(ramp, (4, 10), "bilinear", box=(10.5, 0, 30.5, 4))
    np.testing.assert_allclose(result[0], 10.5 + (np.arange(10) + 0.5) * 2 - 0.5, atol=1e-4)


def test_holes_do_not_bleed_into_readings() -> None:
    depth = np.full((40, 40), 2.0, np.float32)
    depth[:, :15] = np.nan
    result = resample(depth, (17, 17), "bilinear")
    assert np.isnan(result[:, 0]).all()
    np.testing.assert_allclose(result[~np.isnan(result)], 2.0, rtol=1e-6)


def test_a_hole_keeps_its_size() -> None:
    depth = np.full((64, 64), 2.0, np.float32)
    depth[:, :32] = np.nan
    assert np.isnan(resample(depth, (16, 16), "bilinear")).mean() == pytest.approx(0.5)


def test_nearest_never_mixes_and_keeps_holes() -> None:
    depth = np.array([[1, np.nan], [3, 4]], np.float32)
    np.testing.assert_array_equal(resample(depth, (4, 4), "nearest"), np.kron(depth, np.ones((2, 2), np.float32)))


def test_without_antialias_only_point_filters_work() -> None:
    with pytest.raises(ValueError, match="always antialiases"):
        resample(FLOATS, (8, 8), "lanczos", antialias=False)


def test_pictures_are_bicubic_and_measurements_bilinear() -> None:
    assert natural_filter(PICTURE) == "bicubic"
    assert natural_filter(FLOATS) == "bilinear"


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    holes=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_bilinear_stays_inside_the_readings(shape: tuple, size: tuple, holes: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(1, 5, shape).astype(np.float32)
    values[rng.uniform(size=shape) < holes] = np.nan
    result = resample(values, size, "bilinear")
    known = result[~np.isnan(result)]
    if known.size:
        assert known.min() >= np.nanmin(values) - 1e-4 and known.max() <= np.nanmax(values) + 1e-4
