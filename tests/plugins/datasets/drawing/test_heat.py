"""The drawn thermal camera against physics that is known from elsewhere, and against the scene it looks at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefw.plugins.datasets.drawing.heat import (
    BAND,
    NEDT,
    Warmth,
    band_radiance,
    brightness_temperature,
    radiance,
    sense_heat,
    spectral_radiance,
)
from edgefw.plugins.datasets.drawing.scene import draw_scene

STEFAN_BOLTZMANN = 5.670374419e-8


@pytest.mark.parametrize("kelvin", [250.0, 300.0, 400.0])
def test_all_wavelengths_together_obey_stefan_and_boltzmann(kelvin: float) -> None:
    wavelength = np.geomspace(1e-6, 5e-3, 20001)
    values = spectral_radiance(wavelength, kelvin)
    total = ((values[1:] + values[:-1]) / 2 * np.diff(wavelength)).sum()
    assert np.pi * total == pytest.approx(STEFAN_BOLTZMANN * kelvin**4, rel=1e-3)


def test_the_peak_obeys_wien() -> None:
    wavelength = np.linspace(5e-6, 20e-6, 150001)
    peak = wavelength[spectral_radiance(wavelength, 300.0).argmax()]
    assert peak * 300.0 == pytest.approx(2.897771955e-3, rel=1e-4)


def test_the_band_holds_its_tabulated_fraction() -> None:
    """Blackbody functions of the textbooks: F(2400 um K) = 0.1403 and F(4200 um K) = 0.5160."""
    assert BAND == (8e-6, 14e-6)
    fraction = np.pi * band_radiance(300.0) / (STEFAN_BOLTZMANN * 300.0**4)
    assert fraction == pytest.approx(0.5160 - 0.1403, abs=2e-4)


@given(st.floats(220, 420))
def test_brightness_temperature_inverts_the_radiance(kelvin: float) -> None:
    assert float(brightness_temperature(band_radiance(kelvin))) == pytest.approx(kelvin, abs=1e-6)


def test_emission_and_reflection_are_the_formula() -> None:
    warmth = [Warmth(0.9, 305.0, 2.0), Warmth(0.92, 293.0, 0.6)]
    got = radiance(warmth, np.array([0, 0, 1]), np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.5, 1.0]))
    tilted = 0.9 * (1 - 0.5**5)
    room = band_radiance(293.0)
    expected = [
        0.9 * band_radiance(305.0) + 0.1 * room,
        tilted * band_radiance(306.0) + (1 - tilted) * room,
        0.92 * band_radiance(293.6) + 0.08 * room,
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@given(st.floats(0.05, 0.99), st.floats(0, 1))
def test_a_thing_as_warm_as_the_room_cannot_be_seen(emissivity: float, cosine: float) -> None:
    warmth = [Warmth(emissivity, 295.0, 0.0), Warmth(0.92, 295.0, 0.0)]
    got = radiance(warmth, np.array([0]), np.array([0.3]), np.array([cosine]))
    np.testing.assert_allclose(brightness_temperature(got), 295.0, atol=1e-6)


def test_noise_is_the_nedt() -> None:
    flat = np.full((200, 200), float(band_radiance(300.0)))
    sensed = sense_heat(np.random.default_rng(0), flat)
    assert sensed.dtype == np.float32
    assert sensed.std() == pytest.approx(NEDT, rel=0.03) and sensed.mean() == pytest.approx(300.0, abs=2e-3)


def test_colour_and_depth_do_not_depend_on_the_thermal_image() -> None:
    plain = draw_scene(np.random.default_rng(3), "lamp", 40)
    warm = draw_scene(np.random.default_rng(3), "lamp", 40, np.random.default_rng(4))
    assert plain.thermal is None and warm.thermal is not None
    assert np.array_equal(plain.rgb, warm.rgb) and np.array_equal(plain.depth, warm.depth)
    assert plain.caption == warm.caption


def test_the_object_stands_where_it_stands_in_depth() -> None:
    contrasts = []
    for seed in range(12):
        scene = draw_scene(np.random.default_rng(seed), "barrel", 48, np.random.default_rng([seed, 1]))
        assert scene.thermal is not None and 275 < scene.thermal.min() < scene.thermal.max() < 315
        middle, corner = scene.thermal[18:30, 20:28].mean(), scene.thermal[:8, [*range(4), *range(44, 48)]].mean()
        contrasts.append(abs(middle - corner))
    assert np.median(contrasts) > 1.0
