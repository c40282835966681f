"""The classes of the drawn data set: twelve things one can tell apart by their shape alone.

Each class is a function from a random generator to solids that stand on the floor around the origin and are about one
unit tall; the scene scales, turns and places them. Proportions vary within a class, so that no two tables are alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgefw.plugins.datasets.drawing.shapes import Ellipsoid, Frustum, Polyhedron, Solid, box, pyramid

Rng = np.random.Generator
Maker = Callable[[Rng], list[Solid]]


def _block(x: float, y: float, z: float, width: float, depth: float, height: float) -> Polyhedron:
    """A box centred on (x, y) whose underside is at z."""
    return box((x - width / 2, y - depth / 2, z), (x + width / 2, y + depth / 2, z + height))


def _ball(rng: Rng) -> list[Solid]:
    radius = rng.uniform(0.36, 0.46)
    return [Ellipsoid(np.array([0.0, 0.0, radius]), np.full(3, radius))]


def _box(rng: Rng) -> list[Solid]:
    return [_block(0, 0, 0, rng.uniform(0.6, 0.9), rng.uniform(0.6, 0.9), rng.uniform(0.55, 0.85))]


def _barrel(rng: Rng) -> list[Solid]:
    radius, height = rng.uniform(0.28, 0.36), rng.uniform(0.8, 1.0)
    belly = radius * rng.uniform(1.15, 1.3)
    return [Frustum(0, 0, 0, height / 2, radius, belly), Frustum(0, 0, height / 2, height, belly, radius)]


def _cone(rng: Rng) -> list[Solid]:
    base = rng.uniform(0.75, 0.95)
    return [_block(0, 0, 0, base, base, 0.06), Frustum(0, 0, 0.06, rng.uniform(0.9, 1.1), base * 0.38, 0.03)]


def _pyramid(rng: Rng) -> list[Solid]:
    return [pyramid(rng.uniform(0.5, 0.65), rng.uniform(0.7, 1.0))]


def _legs(width: float, depth: float, height: float, thick: float) -> list[Solid]:
    x, y = (width - thick) / 2, (depth - thick) / 2
    return [_block(sx * x, sy * y, 0, thick, thick, height) for sx in (-1, 1) for sy in (-1, 1)]


def _table(rng: Rng) -> list[Solid]:
    width, depth, height = rng.uniform(1.1, 1.5), rng.uniform(0.7, 1.0), rng.uniform(0.6, 0.75)
    return [_block(0, 0, height, width, depth, 0.09), *_legs(width, depth, height, rng.uniform(0.09, 0.13))]


def _chair(rng: Rng) -> list[Solid]:
    side, seat, back = rng.uniform(0.5, 0.6), rng.uniform(0.42, 0.5), rng.uniform(0.5, 0.65)
    backrest = _block(0, (side - 0.08) / 2, seat + 0.08, side, 0.08, back)
    return [_block(0, 0, seat, side, side, 0.08), backrest, *_legs(side, side, seat, rng.uniform(0.07, 0.1))]


def _lamp(rng: Rng) -> list[Solid]:
    height, shade = rng.uniform(1.0, 1.25), rng.uniform(0.28, 0.36)
    pole = Frustum(0, 0, 0.05, height, 0.035, 0.035)
    return [Frustum(0, 0, 0, 0.06, 0.22, 0.2), pole, Frustum(0, 0, height - 0.35, height, shade, shade * 0.5)]


def _bottle(rng: Rng) -> list[Solid]:
    radius, body = rng.uniform(0.2, 0.26), rng.uniform(0.55, 0.7)
    neck = radius * rng.uniform(0.3, 0.4)
    shoulder = Frustum(0, 0, body, body + 0.18, radius, neck)
    return [Frustum(0, 0, 0, body, radius, radius), shoulder, Frustum(0, 0, body + 0.18, body + 0.42, neck, neck)]


def _stairs(rng: Rng) -> list[Solid]:
    steps, width = int(rng.integers(3, 5)), rng.uniform(0.7, 0.95)
    run, rise = 0.95 / steps, rng.uniform(0.75, 0.9) / steps
    return [_block(0, -0.475 + run * (i + 0.5), 0, width, run, rise * (i + 1)) for i in range(steps)]


def _arch(rng: Rng) -> list[Solid]:
    width, pillar, height = rng.uniform(0.9, 1.15), rng.uniform(0.2, 0.27), rng.uniform(0.65, 0.8)
    x = (width - pillar) / 2
    pillars: list[Solid] = [_block(s * x, 0, 0, pillar, pillar * 1.2, height) for s in (-1, 1)]
    return [*pillars, _block(0, 0, height, width, pillar * 1.2, rng.uniform(0.2, 0.27))]


def _snowman(rng: Rng) -> list[Solid]:
    solids: list[Solid] = []
    floor = 0.0
    for radius in (rng.uniform(0.3, 0.36), rng.uniform(0.22, 0.26), rng.uniform(0.14, 0.18)):
        solids.append(Ellipsoid(np.array([0.0, 0.0, floor + radius]), np.full(3, radius)))
        floor += 1.75 * radius
    return solids


OBJECTS: dict[str, Maker] = {
    "arch": _arch,
    "ball": _ball,
    "barrel": _barrel,
    "bottle": _bottle,
    "box": _box,
    "chair": _chair,
    "cone": _cone,
    "lamp": _lamp,
    "pyramid": _pyramid,
    "snowman": _snowman,
    "stairs": _stairs,
    "table": _table,
}
"""Class name to maker, in the order of the label indices."""
