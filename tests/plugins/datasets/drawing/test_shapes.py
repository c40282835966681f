"""Ray casting against an independent reference: marching along the ray until a point is inside."""

from __future__ import annotations

import numpy as np
import pytest

from edgefw.plugins.datasets.drawing.shapes import Ellipsoid, Frustum, box, pyramid

RNG = np.random.default_rng(3)


def inside_box(p: np.ndarray) -> np.ndarray:
    return (np.abs(p[..., 0]) <= 0.4) & (np.abs(p[..., 1]) <= 0.3) & (p[..., 2] >= 0) & (p[..., 2] <= 0.5)


def inside_ellipsoid(p: np.ndarray) -> np.ndarray:
    return ((p - (0.1, 0.0, 0.4)) ** 2 / np.square((0.3, 0.4, 0.4))).sum(-1) <= 1


def inside_frustum(p: np.ndarray) -> np.ndarray:
    radius = 0.4 - 0.25 * p[..., 2] / 0.8
    return (p[..., 2] >= 0) & (p[..., 2] <= 0.8) & (np.hypot(p[..., 0], p[..., 1]) <= radius)


def inside_pyramid(p: np.ndarray) -> np.ndarray:
    half = 0.5 * (1 - p[..., 2] / 0.9)
    return (p[..., 2] >= 0) & (np.abs(p[..., 0]) <= half) & (np.abs(p[..., 1]) <= half)


SOLIDS = {
    "box": (box((-0.4, -0.3, 0.0), (0.4, 0.3, 0.5)), inside_box),
    "ellipsoid": (Ellipsoid(np.array([0.1, 0.0, 0.4]), np.array([0.3, 0.4, 0.4])), inside_ellipsoid),
    "frustum": (Frustum(0.0, 0.0, 0.0, 0.8, 0.4, 0.15), inside_frustum),
    "pyramid": (pyramid(0.5, 0.9), inside_pyramid),
}


def rays(count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    origin = np.array([-2.0, 0.3, 0.9])
    aim = RNG.uniform((-0.5, -0.5, 0.0), (0.5, 0.5, 0.9), (count, 3))
    direction = aim - origin
    return origin, direction / np.linalg.norm(direction, axis=1, keepdims=True)


@pytest.mark.parametrize("name", SOLIDS)
def test_distance_equals_marching_along_the_ray(name: str) -> None:
    solid, inside = SOLIDS[name]
    origin, direction = rays()
    steps = np.arange(1.0, 3.5, 1e-3)
    hit = inside(origin + steps[None, :, None] * direction[:, None, :])
    expected = np.where(hit.any(1), steps[hit.argmax(1)], np.inf)
    found = solid.distance(origin, direction)
    both = np.isfinite(expected) & np.isfinite(found)
    assert both.sum() > 100
    assert np.abs(expected[both] - found[both]).max() < 2e-3
    assert (np.isfinite(expected) != np.isfinite(found)).mean() < 0.02  # rays that graze an edge


@pytest.mark.parametrize("name", SOLIDS)
def test_normals_are_unit_and_face_the_viewer(name: str) -> None:
    solid, _ = SOLIDS[name]
    origin, direction = rays()
    t = solid.distance(origin, direction)
    met = np.isfinite(t)
    normal = solid.normal(origin + t[met, None] * direction[met])
    assert np.allclose(np.linalg.norm(normal, axis=1), 1.0)
    assert (np.einsum("pi,pi->p", normal, direction[met]) < 1e-6).mean() > 0.99


def test_a_ray_that_starts_behind_the_solid_misses_it() -> None:
    solid, _ = SOLIDS["box"]
    assert np.isinf(solid.distance(np.array([2.0, 0.0, 0.2]), np.array([[1.0, 0.0, 0.0]]))).all()
