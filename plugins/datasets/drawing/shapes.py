"""Ray casting of convex solids in NumPy: polyhedra, ellipsoids and frusta.

Every solid answers one question for P rays at once: how far to the surface, and which way does it face there. Rays are
`origin + t * direction` with one origin (3,) and P directions (P, 3), or P origins as well; a miss is `inf`. This
module knows nothing of rooms, colours or classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

Array = np.ndarray

EPSILON = 1e-4


class Solid(Protocol):
    """A convex solid in its own coordinates."""

    def distance(self, origin: Array, direction: Array) -> Array:
        """(P,) smallest t > 0 at which each ray meets the surface, `inf` where it does not."""
        ...

    def normal(self, points: Array) -> Array:
        """(P, 3) outward unit normals at points on the surface."""
        ...


@dataclass(frozen=True)
class Polyhedron:
    """The points x with `normals @ x <= offsets`: F outward unit normals (F, 3) and offsets (F,)."""

    normals: Array
    offsets: Array

    def distance(self, origin: Array, direction: Array) -> Array:
        # faces first: numpy reduces over the first axis several times faster than over a short last one
        speed = np.ascontiguousarray((direction @ self.normals.T).T)  # (F, P)
        gap = np.ascontiguousarray(np.atleast_2d(self.offsets - origin @ self.normals.T).T)  # (F, 1 or P); < 0 outside
        with np.errstate(divide="ignore", invalid="ignore"):
            t = gap / speed
        enter = np.where(speed < 0, t, -np.inf).max(axis=0)
        leave = np.where(speed > 0, t, np.inf).min(axis=0)
        outside = ((np.abs(speed) < 1e-12) & (gap < 0)).any(axis=0)
        return np.where((enter > EPSILON) & (enter < leave) & ~outside, enter, np.inf)

    def normal(self, points: Array) -> Array:
        face = np.ascontiguousarray(np.abs(points @ self.normals.T - self.offsets).T).argmin(axis=0)
        return self.normals[face]


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with `centre` (3,) and `radii` (3,)."""

    centre: Array
    radii: Array

    def distance(self, origin: Array, direction: Array) -> Array:
        start, step = (origin - self.centre) / self.radii, direction / self.radii
        return _first_root(_dot(step, step), 2.0 * _dot(start, step), _dot(start, start) - 1.0)

    def normal(self, points: Array) -> Array:
        return _unit((points - self.centre) / self.radii**2)


@dataclass(frozen=True)
class Frustum:
    """A cone cut off, upright: radius `bottom` at height `low`, radius `top` at height `high`, about (x, y).

    Equal radii make a cylinder, a top radius of zero makes a cone.
    """

    x: float
    y: float
    low: float
    high: float
    bottom: float
    top: float

    @property
    def slope(self) -> float:
        """Change of the radius per unit of height."""
        return (self.top - self.bottom) / (self.high - self.low)

    def distance(self, origin: Array, direction: Array) -> Array:
        return np.minimum(self._side(origin, direction), self._caps(origin, direction))

    def _side(self, origin: Array, direction: Array) -> Array:
        start, step = self._relative(origin), direction
        radius, growth = self.bottom + self.slope * start[..., 2], self.slope * step[..., 2]
        a = step[..., 0] ** 2 + step[..., 1] ** 2 - growth**2
        b = 2.0 * (start[..., 0] * step[..., 0] + start[..., 1] * step[..., 1] - radius * growth)
        c = start[..., 0] ** 2 + start[..., 1] ** 2 - radius**2
        height = self.high - self.low
        best = np.full(len(direction), np.inf)
        for t in _roots(a, b, c):
            with np.errstate(invalid="ignore"):
                z = start[..., 2] + t * step[..., 2]
                best = np.where((t > EPSILON) & (z >= 0) & (z <= height) & (t < best), t, best)
        return best

    def _caps(self, origin: Array, direction: Array) -> Array:
        start, best = self._relative(origin), np.full(len(direction), np.inf)
        for height, radius in ((0.0, self.bottom), (self.high - self.low, self.top)):
            with np.errstate(divide="ignore", invalid="ignore"):
                t = (height - start[..., 2]) / direction[:, 2]
                x, y = start[..., 0] + t * direction[:, 0], start[..., 1] + t * direction[:, 1]
                best = np.where((t > EPSILON) & (x * x + y * y <= radius**2) & (t < best), t, best)
        return best

    def _relative(self, points: Array) -> Array:
        return points - np.array([self.x, self.y, self.low])

    def normal(self, points: Array) -> Array:
        at = self._relative(points)
        around = np.hypot(at[:, 0], at[:, 1])
        side = np.stack([at[:, 0], at[:, 1], -self.slope * around], axis=1)
        height = self.high - self.low
        gap_side = np.abs(around - (self.bottom + self.slope * at[:, 2]))
        side[(np.abs(at[:, 2]) < 1e-3 * height) & (gap_side > 1e-6)] = (0.0, 0.0, -1.0)
        side[(np.abs(at[:, 2] - height) < 1e-3 * height) & (gap_side > 1e-6)] = (0.0, 0.0, 1.0)
        return _unit(side)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Polyhedron:
    """An axis-aligned box between two corners."""
    normals = np.concatenate([np.eye(3), -np.eye(3)])
    return Polyhedron(normals, np.concatenate([np.asarray(high, float), -np.asarray(low, float)]))


def pyramid(half: float, height: float) -> Polyhedron:
    """A square pyramid on the floor, apex above the origin; `half` is half its base."""
    sides = [(height, 0, half), (-height, 0, half), (0, height, half), (0, -height, half)]
    normals = np.array([np.divide(s, np.linalg.norm(s)) for s in sides] + [(0.0, 0.0, -1.0)])
    return Polyhedron(normals, np.append(normals[:4] @ (0.0, 0.0, height), 0.0))


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("...i,...i->...", a, b)


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _roots(a: Array, b: Array, c: Array) -> tuple[Array, Array]:
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(b * b - 4.0 * a * c)
        return (-b - root) / (2.0 * a), (-b + root) / (2.0 * a)


def _first_root(a: Array, b: Array, c: Array) -> Array:
    near, _ = _roots(a, b, c)
    with np.errstate(invalid="ignore"):
        return np.where(near > EPSILON, near, np.inf)
