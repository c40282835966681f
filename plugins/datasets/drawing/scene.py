"""One scene: an object of a known class in a textured room, seen by a pinhole camera, as RGB and metric depth.

Both images come from the same rays, so they are aligned to the pixel. Depth is z along the optical axis in metres,
with the noise and the holes of a cheap sensor. Everything follows from one generator; a thermal image of the same rays
(see `heat`) has a generator of its own, so that colour and depth do not depend on whether it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgefw.plugins.datasets.drawing.heat import draw_warmth, radiance, sense_heat
from edgefw.plugins.datasets.drawing.objects import OBJECTS
from edgefw.plugins.datasets.drawing.shapes import Ellipsoid, Solid, box
from edgefw.plugins.datasets.drawing.textures import Texture, draw_texture

Array = np.ndarray
Rng = np.random.Generator

FIELD_OF_VIEW = np.deg2rad(50.0)


@dataclass(frozen=True)
class Scene:
    """One scene as each sensor sees it, and a sentence.

    Attributes:
        rgb: (S, S, 3) uint8.
        depth: (S, S) float32 metres, 0 where the sensor has no reading.
        caption: what it shows.
        thermal: (S, S) float32 kelvin, or None if it was not asked for.
    """

    rgb: Array
    depth: Array
    caption: str
    thermal: Array | None = None


@dataclass(frozen=True)
class Thing:
    """Solids with one texture, placed in the room: scale, then turn about the vertical axis, then move."""

    solids: list[Solid]
    texture: Texture
    scale: float = 1.0
    turn: float = 0.0
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def inside(self, vectors: Array, is_point: bool) -> Array:
        """Room coordinates to the thing's own."""
        moved = vectors - np.asarray(self.place) if is_point else vectors
        return moved @ _turn(self.turn) / self.scale

    def outside(self, normals: Array) -> Array:
        """The thing's own directions to room directions."""
        return normals @ _turn(self.turn).T


@dataclass(frozen=True)
class Hits:
    """Per ray: distance, surface normal (towards the camera), colour, and which of the things was hit."""

    distance: Array
    normal: Array
    colour: Array
    owner: Array


def draw_scene(rng: Rng, name: str, size: int, heat: Rng | None = None) -> Scene:
    """A scene that shows one object of class `name`, drawn at `size` x `size` pixels; with `heat`, also its warmth."""
    room, target = _room(rng), _target(rng, name)
    things = [target, *_clutter(rng), room]
    origin, axes = _camera(rng, target)
    rays = _rays(axes, size)
    hits = _cast(things, origin, rays)
    depth = hits.distance * (rays @ axes[2])
    points = origin + hits.distance[:, None] * rays
    rgb = _shade(rng, hits, things[:-1], points)
    thermal = None if heat is None else _warmth(heat, hits, len(things), points, rays).reshape(size, size)
    return Scene(
        rgb=_picture(rng, rgb, size),
        depth=_sense(rng, depth.reshape(size, size)),
        caption=_caption(name, target, room),
        thermal=None if heat is None or thermal is None else sense_heat(heat, thermal),
    )


def _turn(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _target(rng: Rng, name: str) -> Thing:
    return Thing(OBJECTS[name](rng), draw_texture(rng), float(rng.uniform(0.5, 1.1)), float(rng.uniform(0, 2 * np.pi)))


def _room(rng: Rng) -> Thing:
    """Four walls, floor and ceiling, turned at random about the object; wide enough to hold the camera."""
    walls = rng.uniform(1.2, 3.5, 4)
    low, high = (-4.2 - walls[0], -walls[1], 0.0), (walls[2], walls[3], float(rng.uniform(2.4, 3.4)))
    low = (low[0], min(low[1], -1.8), low[2])
    high = (high[0], max(high[1], 1.8), high[2])
    return Thing([box(low, high)], draw_texture(rng, muted=True), turn=float(rng.uniform(-0.3, 0.3)))


def _clutter(rng: Rng) -> list[Thing]:
    """Pebbles and low slabs on the floor: too small or too flat to be taken for the object."""
    things = []
    for _ in range(int(rng.integers(0, 4))):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 1.6)
        place = (float(far * np.cos(angle)), float(far * np.sin(angle)), 0.0)
        if rng.random() < 0.5:
            solid: Solid = box((-0.25, -0.15, 0.0), (0.25, 0.15, 0.04))
        else:
            solid = Ellipsoid(np.array([0.0, 0.0, 0.05]), rng.uniform(0.05, 0.12, 3))
        things.append(Thing([solid], draw_texture(rng), float(rng.uniform(0.7, 1.2)), float(angle), place))
    return things


def _camera(rng: Rng, target: Thing) -> tuple[Array, Array]:
    """Position (3,) and axes right, down, forward as rows (3, 3)."""
    height = 0.5 * target.scale
    away = target.scale * rng.uniform(1.7, 2.6)
    azimuth, elevation = rng.uniform(-0.5, 0.5), rng.uniform(0.12, 0.65)
    back = np.array([-np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    origin = np.array([0.0, 0.0, height]) + away * back
    aim = np.array([0.0, 0.0, height]) + target.scale * rng.uniform(-0.2, 0.2, 3) * (1.0, 1.0, 0.6)
    forward = (aim - origin) / np.linalg.norm(aim - origin)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return origin, np.stack([right, np.cross(forward, right), forward])


def _rays(axes: Array, size: int) -> Array:
    half = np.tan(FIELD_OF_VIEW / 2)
    steps = (np.arange(size) + 0.5) / size * 2 - 1
    u, v = np.meshgrid(steps * half, steps * half)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3) @ axes
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _cast(things: list[Thing], origin: Array, rays: Array) -> Hits:
    """The nearest surface on each ray; the room, last of the things, is seen from the inside."""
    best = np.full(len(rays), np.inf)
    normal, colour = np.zeros_like(rays), np.zeros_like(rays)
    owner = np.zeros(len(rays), np.intp)
    for number, thing in enumerate(things):
        start, step = thing.inside(origin, True), thing.inside(rays, False)
        for solid in thing.solids:
            t = _leaving(solid, start, step) if thing is things[-1] else solid.distance(start, step)
            nearer = t < best
            if nearer.any():
                points = start + t[nearer, None] * step[nearer]
                best[nearer], owner[nearer] = t[nearer], number
                normal[nearer] = thing.outside(solid.normal(points))
                colour[nearer] = thing.texture.colour(points * thing.scale)
    facing = np.sign(-np.einsum("pi,pi->p", normal, rays))
    return Hits(best, normal * facing[:, None], colour, owner)


def _warmth(rng: Rng, hits: Hits, things: int, points: Array, rays: Array) -> Array:
    """Radiance in the thermal band along each ray."""
    cosine = -np.einsum("pi,pi->p", hits.normal, rays)
    return radiance(draw_warmth(rng, things), hits.owner, points[:, 2], cosine)


def _leaving(solid: Solid, start: Array, step: Array) -> Array:
    """Where rays that begin inside a polyhedron leave it."""
    speed = np.ascontiguousarray((step @ solid.normals.T).T)  # type: ignore[attr-defined]  # (F, P)
    gap = solid.offsets - solid.normals @ start  # type: ignore[attr-defined]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(speed > 0, gap[:, None] / speed, np.inf).min(axis=0)


def _shade(rng: Rng, hits: Hits, things: list[Thing], points: Array) -> Array:
    """Lambert shading by one lamp with hard shadows, over ambient light."""
    angle, up = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.2)
    light = np.array([np.cos(angle), np.sin(angle), up]) / np.hypot(1.0, up)
    lit = np.clip(hits.normal @ light, 0.0, None)
    rays = np.broadcast_to(light, points.shape)
    start = points + 1e-3 * hits.normal
    shadow = np.zeros(len(points), bool)
    for thing in things:
        inside, step = thing.inside(start, True), thing.inside(rays, False)
        for solid in thing.solids:
            shadow |= np.isfinite(solid.distance(inside, step))
    ambient, lamp = rng.uniform(0.3, 0.5), rng.uniform(0.5, 0.8)
    tint = 1.0 + rng.uniform(-0.1, 0.1, 3)
    return hits.colour * (ambient + lamp * np.where(shadow, 0.15, 1.0) * lit)[:, None] * tint


def _picture(rng: Rng, rgb: Array, size: int) -> Array:
    noisy = rgb + rng.normal(0.0, 0.012, rgb.shape)
    return (np.clip(noisy, 0, 1) ** (1 / 1.8) * 255 + 0.5).astype(np.uint8).reshape(size, size, 3)


def _sense(rng: Rng, depth: Array) -> Array:
    """Noise that grows with the square of the distance, and a few holes where the depth jumps."""
    noisy = depth + rng.normal(0.0, 0.0015, depth.shape) * depth**2
    jump = np.zeros(depth.shape, bool)
    jump[:, 1:] |= np.abs(np.diff(np.log(depth), axis=1)) > 0.12
    jump[1:, :] |= np.abs(np.diff(np.log(depth), axis=0)) > 0.12
    holes = jump & (rng.random(depth.shape) < 0.3)
    return np.where(holes, 0.0, noisy).astype(np.float32)


def _caption(name: str, target: Thing, room: Thing) -> str:
    look = (
        target.texture.name if target.texture.pattern == "plain" else f"{target.texture.pattern} {target.texture.name}"
    )
    return f"a photo of a {look} {name} in a {room.texture.name} room"
