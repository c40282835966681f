"""What a thermal camera sees of a drawn scene: emission of warm surfaces, reflection of the room, and noise.

Physics, per pixel, with temperatures in kelvin and everything in the camera's band of 8 to 14 micrometres:

    B(T)     = integral over the band of Planck's law, W / (m^2 sr)
    e(theta) = e0 (1 - (1 - cos theta)^5)                 grazing surfaces reflect (Schlick) and so emit less (Kirchhoff)
    T(z)     = T_thing + gradient z                       a thing is a little warmer at one end; air is layered
    L        = e B(T) + (1 - e) B(T_room)                 own emission, and the room mirrored without detail
    optics   : L blurred by (1, 2, 1) / 4 in both directions
    camera   : the temperature of a black body of radiance L, plus white noise of 50 mK (NEDT)

Every thing has a material (emissivity e0, rounded textbook values) and a temperature that are drawn independently of
its class, its colour and its pattern: paint of any colour emits alike at these wavelengths. The object stands out by a
few kelvin, warmer or colder than the room; clutter is close to the room's temperature.
Sources: Planck 1901; Kirchhoff 1860; Schlick 1994, doi:10.1111/1467-8659.1330233; emissivities near those of tables of
total emissivity, such as Incropera et al., Fundamentals of Heat and Mass Transfer, table A.11, and rounded: none is quoted.
Does not: conduct or radiate heat between things, cast heat shadows, absorb in the air, or drift as a real sensor does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

Array = np.ndarray
Rng = np.random.Generator

PLANCK, LIGHT, BOLTZMANN = 6.62607015e-34, 299_792_458.0, 1.380649e-23
"""J s, m / s, J / K: exact by definition of the SI."""
BAND = (8e-6, 14e-6)
"""Metres: the atmospheric window that uncooled microbolometers use."""
NEDT = 0.05
"""Kelvin: noise-equivalent temperature difference."""
EMISSIVITY = {
    "painted": 0.92,
    "wood": 0.90,
    "paper": 0.93,
    "plastic": 0.94,
    "glass": 0.88,
    "rusted steel": 0.70,
    "dull aluminium": 0.25,
}
"""Material -> emissivity of a surface seen head-on."""
_OFTEN = (0.3, 0.2, 0.15, 0.15, 0.08, 0.08, 0.04)
_ROOM_EMISSIVITY = 0.92
_LAYERS = 0.6
"""Kelvin per metre by which air, and with it walls, are warmer higher up."""


@dataclass(frozen=True)
class Warmth:
    """A thing's `emissivity` head-on, its temperature at the floor (`kelvin`), and its `gradient`, kelvin per metre."""

    emissivity: float
    kelvin: float
    gradient: float


def spectral_radiance(wavelength: Array, kelvin: Array | float) -> Array:
    """Planck's law: W / (m^2 sr m) of a black body at wavelengths in metres."""
    exponent = PLANCK * LIGHT / (wavelength * BOLTZMANN * kelvin)
    return np.asarray(2 * PLANCK * LIGHT**2 / wavelength**5 / np.expm1(exponent))


@cache
def _table() -> tuple[Array, Array]:
    """Temperatures, and a black body's radiance in the band at each."""
    kelvin = np.linspace(200.0, 450.0, 1001)
    width = (BAND[1] - BAND[0]) / 600
    wavelength = BAND[0] + width * (np.arange(600) + 0.5)
    return kelvin, spectral_radiance(wavelength[None, :], kelvin[:, None]).sum(axis=1) * width


def band_radiance(kelvin: Array | float) -> Array:
    """W / (m^2 sr) that a black body emits in the band, for 200 to 450 K."""
    return np.asarray(np.interp(kelvin, *_table()))


def brightness_temperature(radiance: Array) -> Array:
    """Kelvin of the black body with a radiance in the band: the inverse of `band_radiance`."""
    kelvin, values = _table()
    return np.asarray(np.interp(radiance, values, kelvin))


def draw_warmth(rng: Rng, things: int) -> list[Warmth]:
    """One for each thing of a scene: the object first, the room last, clutter between them."""
    air = rng.uniform(288.0, 298.0)
    stands_out = rng.uniform(1.5, 10.0) * (1 if rng.random() < 0.7 else -1)
    target = Warmth(_emissivity(rng), air + stands_out, rng.uniform(-2.0, 2.0))
    clutter = [Warmth(_emissivity(rng), air + rng.uniform(-1.0, 2.0), 0.0) for _ in range(things - 2)]
    return [target, *clutter, Warmth(_ROOM_EMISSIVITY, air, _LAYERS)]


def _emissivity(rng: Rng) -> float:
    return EMISSIVITY[str(rng.choice(list(EMISSIVITY), p=_OFTEN))]


def radiance(warmth: list[Warmth], owner: Array, height: Array, cosine: Array) -> Array:
    """(P,) W / (m^2 sr) that reaches the camera in its band.

    Args:
        warmth: of each thing, the room last.
        owner: (P,) which thing a ray meets.
        height: (P,) metres above the floor where it does.
        cosine: (P,) of the angle between the ray and the surface's normal, 0..1.
    """
    emissivity, kelvin, gradient = (
        np.array([getattr(one, name) for one in warmth])[owner] for name in ("emissivity", "kelvin", "gradient")
    )
    emissivity = emissivity * (1.0 - (1.0 - np.clip(cosine, 0.0, 1.0)) ** 5)
    return emissivity * band_radiance(kelvin + gradient * height) + (1 - emissivity) * band_radiance(warmth[-1].kelvin)


def sense_heat(rng: Rng, image: Array) -> Array:
    """(S, S) float32 kelvin that a camera reports for radiances (S, S)."""
    padded = np.pad(image, 1, mode="edge")
    rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    blurred = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4
    return (brightness_temperature(blurred) + rng.normal(0.0, NEDT, image.shape)).astype(np.float32)
