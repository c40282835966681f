"""The near-infrared modality: white levels, missing readings, encodings and wrong files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from edgefw.contracts.student import InputSpec
from edgefw.errors import DataError
from edgefw.plugins.modalities.nir import Nir, NirConfig

INPUT = InputSpec(size=10, mean=(0.0,) * 3, std=(1.0,) * 3)
COUNTS = np.random.default_rng(2).integers(0, 4096, (10, 10)).astype(np.uint16)


def image(values: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form)
    return buffer.getvalue()


def decode(data: bytes, **options: object) -> np.ndarray:
    return Nir(NirConfig(**options)).decode(data, "n")


def test_white_is_the_largest_number_of_the_type_unless_it_is_given() -> None:
    grey = (COUNTS // 16).astype(np.uint8)
    np.testing.assert_allclose(decode(image(COUNTS)), COUNTS / 65535, rtol=1e-6)
    np.testing.assert_allclose(decode(image(COUNTS), white=4095), COUNTS / 4095, rtol=1e-6)
    np.testing.assert_allclose(decode(image(grey)), grey / 255, rtol=1e-6)
    np.testing.assert_array_equal(decode(image((COUNTS / 4095).astype(np.float32), "TIFF")), np.float32(COUNTS / 4095))


def test_grey_that_was_saved_as_colour_is_taken_and_colour_is_not() -> None:
    grey = (COUNTS // 16).astype(np.uint8)
    np.testing.assert_array_equal(decode(image(np.stack([grey] * 3, axis=2))), decode(image(grey)))
    with pytest.raises(DataError, match="^n: an image whose three channels differ is no near-infrared image"):
        decode(image(np.stack([grey, grey, 255 - grey], axis=2)))


def test_the_fixed_range_is_the_formula() -> None:
    modality = Nir(NirConfig(white=4095, low=0.1, high=0.6))
    values = modality.decode(image(COUNTS), "n")
    expected = (np.clip(COUNTS / 4095, 0.1, 0.6) - 0.1) / 0.5
    np.testing.assert_allclose(modality.preprocessing(INPUT)(values), np.stack([expected] * 3), atol=1e-6)
    np.testing.assert_allclose(modality.picture(values)[..., 1], np.rint(expected * 255), atol=1)


def test_missing_readings_are_black_and_do_not_stretch_the_range() -> None:
    counts = COUNTS + 1000
    counts[:2] = 0
    modality = Nir(NirConfig(encoding="min-max", missing=0))
    values = modality.decode(image(counts), "n")
    assert np.isnan(values[:2]).all()
    result = modality.preprocessing(INPUT)(values)[0]
    known = counts[2:].astype(float)
    np.testing.assert_allclose(result[2:], (known - known.min()) / np.ptp(known), atol=1e-5)
    assert (result[:2] == 0).all() and (modality.picture(values)[:2] == 0).all()


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 8.0))
def test_min_max_does_not_depend_on_the_exposure(gain: float) -> None:
    modality = Nir(NirConfig(encoding="min-max"))
    values = np.random.default_rng(0).uniform(0, 1, (10, 10)).astype(np.float32)
    chain = modality.preprocessing(INPUT)
    np.testing.assert_allclose(chain(values * np.float32(gain)), chain(values), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.2}, "give both low and high, or neither"),
        ({"low": 0.5, "high": 0.2}, "high must be larger than low, got low 0.5 and high 0.2"),
        ({"encoding": "min-max", "low": 0.0, "high": 1.0}, "min-max takes no low and high; use fixed-range"),
        ({"white": 0}, "greater than 0"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NirConfig(**options)
