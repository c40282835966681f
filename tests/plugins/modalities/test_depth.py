"""The depth modality: units, file formats, encodings and their formulas, wrong files."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from edgefw.contracts.student import InputSpec
from edgefw.errors import CapabilityError, DataError
from edgefw.plugins.modalities.depth import Depth, DepthConfig

INPUT = InputSpec(size=10, mean=(0.0,) * 3, std=(1.0,) * 3)
MILLIMETRES = np.random.default_rng(4).integers(400, 9000, (10, 10)).astype(np.uint16)
MILLIMETRES[0, :3] = 0


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def tiff(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF")
    return buffer.getvalue()


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def decode(data: bytes, **options: object) -> np.ndarray:
    return Depth(DepthConfig(**options)).decode(data, "d")


def test_16_bit_png_is_millimetres() -> None:
    values = decode(png(MILLIMETRES))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, MILLIMETRES / 1000, rtol=1e-6)


@pytest.mark.parametrize("writer", [npy, tiff])
def test_floats_are_metres(writer: object) -> None:
    metres = (MILLIMETRES / 1000).astype(np.float32)
    np.testing.assert_array_equal(decode(writer(metres)), metres)


@pytest.mark.parametrize("data", [tiff(MILLIMETRES), npy(MILLIMETRES), npy(MILLIMETRES.astype(np.int64))])
def test_other_integers_are_millimetres_too(data: bytes) -> None:
    np.testing.assert_allclose(decode(data), MILLIMETRES / 1000, rtol=1e-6)


def test_unit_scale_overrides_the_unit() -> None:
    np.testing.assert_allclose(decode(png(MILLIMETRES), unit_scale=0.00025), MILLIMETRES / 4000, rtol=1e-6)
    np.testing.assert_allclose(decode(npy(np.full((2, 2), 3.0)), unit_scale=0.01), 0.03, rtol=1e-6)


def test_what_is_no_distance_is_no_reading() -> None:
    values = decode(npy(np.array([[np.nan, np.inf, -1.0], [0.0, 1e300, 2.0]])))
    np.testing.assert_array_equal(values, [[0, 0, 0], [0, 0, 2]])


def test_one_channel_may_have_an_axis_of_its_own() -> None:
    assert decode(npy(np.ones((5, 6, 1)))).shape == decode(npy(np.ones((1, 5, 6)))).shape == (5, 6)


def test_8_bit_files_need_a_unit() -> None:
    grey = np.full((4, 4), 100, np.uint8)
    with pytest.raises(DataError, match=r"^d: 8-bit values are no depth in millimetres"):
        decode(png(grey))
    np.testing.assert_allclose(decode(png(grey), unit_scale=0.04), 4.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"not an image at all", "neither .npy nor an image format"),
        (png(MILLIMETRES)[:90], "cannot be decoded"),
        (npy(MILLIMETRES)[:100], "npy file cannot be read"),
        (npy(MILLIMETRES)[:8], "npy file cannot be read"),
        (png(np.zeros((4, 4, 3), np.uint8)), r"a colour image \(mode RGB\)"),
        (npy(np.ones((4, 4, 3))), r"shape \(4, 4, 3\) is no depth map"),
        (npy(np.ones((4, 4), complex)), "array of complex128"),
        (npy(np.array([["a"]], object)), "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_message(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^d: .*{message}"):
        decode(data)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 150), st.sampled_from([png(MILLIMETRES), npy(MILLIMETRES)]))
def test_damaged_bytes_give_metres_or_a_data_error(junk: bytes, at: int, data: bytes) -> None:
    try:
        values = decode(data[:at] + junk + data[at + len(junk) :])
        assert values.dtype == np.float32 and (values >= 0).all() and np.isfinite(values).all()
    except DataError as error:
        assert str(error).startswith("d: ")


def test_min_max_is_the_formula_over_the_readings() -> None:
    metres = decode(png(MILLIMETRES))
    known = metres > 0
    expected = np.where(known, (metres - metres[known].min()) / np.ptp(metres[known]), 0)
    result = Depth(DepthConfig()).preprocessing(INPUT)(metres)
    np.testing.assert_allclose(result, np.stack([expected] * 3), atol=1e-6)


def test_zeros_may_count_as_readings() -> None:
    metres = decode(png(MILLIMETRES))
    result = Depth(DepthConfig(zeros="reading")).preprocessing(INPUT)(metres)
    np.testing.assert_allclose(result[0], metres / metres.max(), atol=1e-6)


def test_metric_range_is_the_same_in_every_image() -> None:
    chain = Depth(DepthConfig(encoding="metric-range", near=1, far=5)).preprocessing(INPUT)
    metres = decode(png(MILLIMETRES))
    expected = np.where(metres > 0, (np.clip(metres, 1, 5) - 1) / 4, 0)
    np.testing.assert_allclose(chain(metres)[1], expected, atol=1e-6)


def test_jet_shows_matplotlibs_colours_and_black_holes() -> None:
    chain = Depth(DepthConfig(encoding="jet", near=0, far=10)).preprocessing(INPUT)
    metres = decode(png(MILLIMETRES))
    expected = matplotlib.colormaps["jet"](metres / np.float32(10), bytes=True)[..., :3] / 255
    expected[metres == 0] = 0
    np.testing.assert_allclose(chain(metres).transpose(1, 2, 0), expected, atol=1e-6)


def test_a_student_of_one_channel_takes_grey_but_not_jet() -> None:
    one = InputSpec(size=6, channels=1, mean=(0.5,), std=(0.5,))
    assert Depth(DepthConfig()).preprocessing(one)(decode(png(MILLIMETRES))).shape == (1, 6, 6)
    with pytest.raises(CapabilityError, match="'jet' gives 3 channels; the student takes 1"):
        Depth(DepthConfig(encoding="jet")).preprocessing(one)


@pytest.mark.parametrize("filter", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_every_filter_stays_in_0_to_1(filter: str, fit: str) -> None:
    chain = Depth(DepthConfig(filter=filter, fit=fit)).preprocessing(INPUT)
    scene = np.zeros((30, 50), np.float32)
    scene[:, 20:] = np.random.default_rng(0).uniform(1, 9, (30, 30))
    result = chain(scene)
    assert result.shape == (3, 10, 10) and result.min() >= 0 and result.max() <= 1


def test_the_picture_is_grey_with_black_holes() -> None:
    metres = np.array([[0, 1], [2, 3]], np.float32)
    picture = Depth(DepthConfig()).picture(metres)
    np.testing.assert_array_equal(picture[..., 0], [[0, 0], [128, 255]])
    assert picture.shape == (2, 2, 3) and picture.dtype == np.uint8
    assert (Depth(DepthConfig()).picture(np.zeros((2, 2), np.float32)) == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "metric-range"}, "needs near and far"),
        ({"near": 1.0, "encoding": "jet"}, "both near and far"),
        ({"near": 5.0, "far": 1.0, "encoding": "jet"}, "far must be larger than near"),
        ({"near": 1.0, "far": 5.0}, "takes no near and far"),
        ({"encoding": "hha"}, "min-max"),
        ({"unit_scale": 0}, "greater than 0"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DepthConfig(**options)


def test_image_max_divides_by_the_largest_reading() -> None:
    metres = decode(png(MILLIMETRES))
    result = Depth(DepthConfig(encoding="image-max")).preprocessing(INPUT)(metres)
    np.testing.assert_allclose(result[2], metres / metres.max(), atol=1e-6)
    assert (Depth(DepthConfig(encoding="image-max")).preprocessing(INPUT)(np.zeros((4, 4), np.float32)) == 0).all()


def test_grey_takes_8_bit_values_as_they_are() -> None:
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10)
    modality = Depth(DepthConfig(encoding="grey"))
    np.testing.assert_allclose(modality.preprocessing(INPUT)(modality.decode(png(grey), "d"))[0], grey / 255, atol=1e-6)
    assert modality.unit == "grey 0..1" and Depth(DepthConfig()).unit == "metre"
    with pytest.raises(DataError, match=r"^d: .* 8-bit files, this one holds uint16\. Use min-max or image-max\."):
        modality.decode(png(MILLIMETRES), "d")
    with pytest.raises(ValidationError, match="encoding grey knows no metres"):
        DepthConfig(encoding="grey", unit_scale=0.04)
