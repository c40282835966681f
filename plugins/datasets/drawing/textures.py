"""Surface colours: named colours, and patterns that are functions of the position on a surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.78, 0.16, 0.14),
    "orange": (0.90, 0.50, 0.13),
    "yellow": (0.90, 0.80, 0.22),
    "green": (0.22, 0.58, 0.24),
    "teal": (0.12, 0.55, 0.56),
    "blue": (0.16, 0.32, 0.74),
    "purple": (0.47, 0.24, 0.62),
    "pink": (0.90, 0.52, 0.63),
    "brown": (0.46, 0.30, 0.18),
    "grey": (0.52, 0.52, 0.54),
    "white": (0.90, 0.89, 0.86),
    "black": (0.13, 0.13, 0.14),
}
PATTERNS = ("plain", "striped", "checkered", "speckled")


@dataclass(frozen=True)
class Texture:
    """Two colours and a pattern whose period is `period` metres; `jitter` moves and turns it."""

    name: str
    pattern: str
    first: Array
    second: Array
    period: float
    jitter: Array

    def colour(self, points: Array) -> Array:
        """(P, 3) linear colours at (P, 3) points in metres."""
        at = points / self.period + self.jitter
        if self.pattern == "striped":
            mix = (np.sin(2 * np.pi * (at[:, 0] + 0.5 * at[:, 1] + at[:, 2])) > 0).astype(float)
        elif self.pattern == "checkered":
            mix = (np.floor(at + 1e-3).sum(axis=1) % 2).astype(float)
        elif self.pattern == "speckled":
            mix = _noise(4.0 * at)
        else:
            mix = 0.15 * _noise(at)
        return self.first + mix[:, None] * (self.second - self.first)


def draw_texture(rng: np.random.Generator, muted: bool = False) -> Texture:
    """A random texture; `muted` ones are pale and plain more often, as walls and floors are."""
    name, other = rng.choice(list(COLOURS), size=2, replace=False)
    pattern = str(rng.choice(PATTERNS, p=(0.7, 0.1, 0.1, 0.1) if muted else (0.55, 0.15, 0.15, 0.15)))
    first, second = (np.array(COLOURS[n]) * rng.uniform(0.85, 1.1) for n in (name, other))
    if muted:
        first = 0.55 * first + 0.35
        second = 0.8 * first + 0.2 * second
    elif pattern != "plain":
        second = 0.6 * first + 0.4 * second
    return Texture(str(name), pattern, first, second, float(rng.uniform(0.18, 0.5)), rng.uniform(0, 10, 3))


def _noise(at: Array) -> Array:
    """Value noise in 0..1: hashed lattice points, linear in between."""
    cell = np.floor(at)
    weight = at - cell
    weight = weight * weight * (3 - 2 * weight)
    total = np.zeros(len(at))
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(np.array(corner) == 1, weight, 1 - weight), axis=1)
        total += share * _hash(cell + np.array(corner))
    return total


def _hash(cell: Array) -> Array:
    value = np.sin(cell @ np.array([127.1, 311.7, 74.7])) * 43758.5453
    return value - np.floor(value)
