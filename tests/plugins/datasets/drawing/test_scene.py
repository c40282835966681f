"""A drawn scene: reproducible, metric, and with both images from one geometry."""

from __future__ import annotations

import numpy as np
import pytest

from edgefw.plugins.datasets.drawing.objects import OBJECTS
from edgefw.plugins.datasets.drawing.scene import draw_scene


@pytest.mark.parametrize("name", OBJECTS)
def test_every_class_is_drawn_in_colour_and_depth(name: str) -> None:
    scene = draw_scene(np.random.default_rng(5), name, 48)
    assert scene.rgb.shape == (48, 48, 3) and scene.rgb.dtype == np.uint8
    assert scene.depth.shape == (48, 48) and scene.depth.dtype == np.float32
    read = scene.depth[scene.depth > 0]
    assert 0.2 < read.min() < read.max() < 12.0
    assert (scene.depth == 0).mean() < 0.1
    assert f" {name} in a " in scene.caption


def test_one_generator_state_is_one_scene() -> None:
    first, second = (draw_scene(np.random.default_rng([1, 2]), "chair", 32) for _ in range(2))
    assert np.array_equal(first.rgb, second.rgb) and np.array_equal(first.depth, second.depth)


def test_resolution_changes_sampling_and_not_geometry() -> None:
    coarse, fine = (draw_scene(np.random.default_rng(9), "box", size).depth for size in (32, 96))
    centres = fine[1::3, 1::3]
    read = (coarse > 0) & (centres > 0)
    assert np.median(np.abs(coarse - centres)[read] / centres[read]) < 0.01


def test_edges_of_the_object_are_edges_in_both_images() -> None:
    scene = draw_scene(np.random.default_rng(12), "table", 96)
    grey = scene.rgb.astype(float).mean(-1)
    depth = np.where(scene.depth > 0, scene.depth, np.nan)
    with np.errstate(invalid="ignore"):
        edge = np.abs(np.diff(depth, axis=1)) > 0.2
    step = np.abs(np.diff(grey, axis=1))
    assert step[edge].mean() > 2 * step[~edge].mean()
