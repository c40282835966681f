"""The thermal modality: what files store, encodings, readings that are none, wrong files."""

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
from edgefw.plugins.modalities.thermal import Thermal, ThermalConfig

INPUT = InputSpec(size=10, mean=(0.0,) * 3, std=(1.0,) * 3)
CELSIUS = np.random.default_rng(3).uniform(-20, 60, (10, 10)).astype(np.float32)


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def decode(data: bytes, **options: object) -> np.ndarray:
    return Thermal(ThermalConfig(**options)).decode(data, "t")


@pytest.mark.parametrize(
    ("step", "stored"), [(0.01, None), (0.01, "centi-kelvin"), (0.1, "deci-kelvin"), (1.0, "kelvin")]
)
def test_16_bit_counts_are_fractions_of_a_kelvin(step: float, stored: str | None) -> None:
    counts = np.rint((CELSIUS + 273.15) / step).astype(np.uint16)
    np.testing.assert_allclose(decode(png(counts), stored=stored), CELSIUS, atol=step / 2 + 1e-3)


def test_ice_melts_at_27315_counts() -> None:
    np.testing.assert_allclose(decode(png(np.full((2, 2), 27315, np.uint16))), 0.0, atol=1e-5)


def test_floats_are_celsius_and_may_be_kelvin() -> None:
    np.testing.assert_array_equal(decode(npy(CELSIUS)), CELSIUS)
    np.testing.assert_allclose(decode(npy(CELSIUS + 273.15), stored="kelvin"), CELSIUS, atol=1e-4)


def test_what_is_no_temperature_is_no_reading() -> None:
    counts = np.array([[0, 27315]], np.uint16)
    assert np.isnan(decode(png(counts))[0, 0])
    values = decode(npy(np.array([[np.nan, np.inf, -300.0, 20.0]])))
    np.testing.assert_array_equal(values, [[np.nan, np.nan, np.nan, 20.0]])


def test_the_fixed_range_shows_the_same_temperature_as_the_same_grey() -> None:
    modality = Thermal(ThermalConfig(encoding="fixed-range", low=0, high=40))
    expected = np.clip(CELSIUS, 0, 40) / 40
    np.testing.assert_allclose(modality.preprocessing(INPUT)(CELSIUS), np.stack([expected] * 3), atol=1e-6)
    np.testing.assert_allclose(modality.picture(CELSIUS)[..., 0], np.rint(expected * 255), atol=1)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 3.0), st.floats(-30, 30))
def test_min_max_knows_neither_gain_nor_offset(gain: float, offset: float) -> None:
    chain = Thermal(ThermalConfig()).preprocessing(INPUT)
    moved = (CELSIUS.astype(np.float64) * gain + offset).astype(np.float32)
    np.testing.assert_allclose(chain(moved), chain(CELSIUS), atol=1e-4)


def test_holes_are_black_and_leave_their_neighbours_alone() -> None:
    holed = CELSIUS.copy()
    holed[4:6, 4:6] = np.nan
    chain = Thermal(ThermalConfig(encoding="fixed-range", low=-20, high=60)).preprocessing(INPUT)
    expected = np.where(np.isnan(holed), 0, (np.nan_to_num(holed) + 20) / 80)
    np.testing.assert_allclose(chain(holed)[0], expected, atol=1e-6)


def test_8_bit_files_are_grey_only_if_the_recipe_says_so() -> None:
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10)
    with pytest.raises(DataError, match="^t: 8-bit values are no temperatures. .* set stored: grey"):
        decode(png(grey))
    np.testing.assert_allclose(decode(png(grey), stored="grey"), grey / 255, rtol=1e-6)
    with pytest.raises(DataError, match="stored: grey is for 8-bit files, this one holds uint16"):
        decode(png(grey.astype(np.uint16)), stored="grey")
    assert Thermal(ThermalConfig(stored="grey")).unit == "grey 0..1"
    assert Thermal(ThermalConfig()).unit == "degree Celsius"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "fixed-range"}, "fixed-range needs low and high, in degrees Celsius"),
        ({"low": 1.0, "high": 5.0}, "min-max takes no low and high"),
        ({"stored": "fahrenheit"}, "centi-kelvin"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ThermalConfig(**options)
