"""Changed views against SciPy, torchvision and Pillow; what is shared by modalities, and what is clean."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage
from torchvision.transforms import functional

from edgefw.contracts.view import ViewDraw
from edgefw.plugins.views import camera, weather
from edgefw.plugins.views.multi_view import CHANGES, MultiView, MultiViewConfig, MultiViewDraw
from edgefw.plugins.views.rotation import rotated

RGB, DEPTH = SimpleNamespace(name="rgb", colour=True), SimpleNamespace(name="depth", colour=False)
NEVER = {name: (0.0, 0.0) for name in (*CHANGES, "patches", "rotate")}
WHOLE = {**NEVER, "scale": (1.0, 1.0), "flip": 0.0}


def photograph(size: int = 48) -> np.ndarray:
    """A smooth scene with edges, (size, size, 3) float32 in 0..1."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    image = np.stack([0.5 + 0.4 * np.sin(7 * rows), columns, 0.3 + 0.5 * (rows > columns)], axis=2)
    return image.astype(np.float32)


def draws(view: MultiView, count: int = 200) -> list[ViewDraw]:
    rng = np.random.default_rng(0)
    return [view.draw(rng) for _ in range(count)]


@pytest.mark.parametrize("degrees", [7.0, -33.0, 90.0, 180.0])
@pytest.mark.parametrize("shape", [(21, 21), (20, 20, 3)])
def test_a_turn_is_scipys(degrees: float, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    theirs = ndimage.rotate(image.astype(np.float64), degrees, axes=(1, 0), reshape=False, order=1, mode="nearest")
    assert np.abs(rotated(image, degrees) - theirs).max() <= 0.51  # theirs is not rounded


def test_missing_readings_do_not_bleed_when_turned_and_no_value_is_invented() -> None:
    depth = np.arange(400, dtype=np.float32).reshape(20, 20)
    depth[5:9, 5:9] = np.nan
    turned = rotated(depth, 20.0)
    assert set(turned[~np.isnan(turned)]) <= set(depth[~np.isnan(depth)])
    assert abs(int(np.isnan(turned).sum()) - 16) <= 6
    assert rotated(depth, 0.0) is depth


@pytest.mark.parametrize("sigma", [0.4, 1.3, 4.0])
def test_blur_is_scipys_gaussian(sigma: float) -> None:
    image = np.random.default_rng(2).random((30, 25, 3), np.float32)
    radius = int(np.ceil(3 * sigma))
    theirs = ndimage.gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="nearest", radius=(radius, radius, 0))  # fmt: skip
    np.testing.assert_allclose(camera.gaussian(image, sigma), theirs, atol=1e-5)


@pytest.mark.parametrize("factors", [(1.2, 0.7, 1.4), (0.6, 1.4, 0.0)])
def test_colours_change_as_torchvision_changes_them(factors: tuple[float, float, float]) -> None:
    image = photograph()
    rng = SimpleNamespace(uniform=lambda low, high, count: np.array(factors))
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for factor, change in zip(factors, ("brightness", "contrast", "saturation")):
        tensor = getattr(functional, f"adjust_{change}")(tensor, factor)
    ours = np.clip(camera.jitter(image, 0.5, rng), 0, 1)
    np.testing.assert_allclose(ours, tensor.permute(1, 2, 0).numpy(), atol=2e-4)  # their grey has four digits


def test_jpeg_is_pillows_and_worse_at_lower_quality() -> None:
    image = photograph()
    file = io.BytesIO()
    Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(file, "JPEG", quality=30)
    np.testing.assert_array_equal(camera.as_jpeg(image, 30), np.asarray(Image.open(file), np.float32) / 255)
    errors = [np.abs(camera.as_jpeg(image, quality) - image).mean() for quality in (95, 40, 5)]
    assert errors == sorted(errors)
    assert camera.as_jpeg(photograph()[:, :, :1], 50).shape == (48, 48, 1)


def test_noise_has_no_mean_and_the_deviation_that_was_drawn() -> None:
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    changed = camera.noise(np.full((200, 200, 3), 0.5, np.float32), 0.8, rng) - 0.5
    assert changed.std() == pytest.approx(0.2 * again.uniform(0, 0.8), rel=0.02)
    assert abs(changed.mean()) < 1e-3


def test_light_and_fog_follow_their_formulas() -> None:
    image = photograph()
    stops = 2.0 * np.random.default_rng(4).uniform(-0.5, 0.5)
    np.testing.assert_allclose(weather.light(image, 0.5, np.random.default_rng(4)), image * 2**stops, rtol=1e-5)
    thick = weather.fog(image, 0.7, np.random.default_rng(5))
    share = (thick - image) / (0.85 - image + 1e-9)  # of haze, the same in all channels
    assert share.min() > 0 and share.max() <= 0.7 and np.ptp(share, axis=2).max() < 1e-2


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_grows_with_its_strength_and_nothing_changes_without_any(name: str) -> None:
    image, change = photograph(64), CHANGES[name]
    sizes = [np.mean([np.abs(np.clip(change(image, s, np.random.default_rng(n)), 0, 1) - image).mean() for n in range(12)]) for s in (0.0, 0.3, 1.0)]  # fmt: skip
    assert sizes[0] <= (0.01 if name == "jpeg" else 1e-6) and sizes[0] <= sizes[1] < sizes[2]


def test_rain_and_snow_brighten_few_pixels() -> None:
    dark = np.full((64, 64, 3), 0.2, np.float32)
    for change in (weather.rain, weather.snow):
        brighter = change(dark, 0.5, np.random.default_rng(1))[:, :, 0] > 0.25
        assert 0.005 < brighter.mean() < 0.5, change


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_views_are_changed_as_asked_for(share: float) -> None:
    found = draws(MultiView(MultiViewConfig(share=share)), 1000)
    assert np.mean([isinstance(draw, MultiViewDraw) for draw in found]) == pytest.approx(share, abs=0.05)
    assert all(draw == ViewDraw() for draw in found if not isinstance(draw, MultiViewDraw))


def test_number_zero_is_clean_and_others_differ_from_it_and_from_each_other() -> None:
    view, image = MultiView(MultiViewConfig(share=0.0)), (photograph() * 255).astype(np.uint8)
    zero, one, two = (view.draw_number(np.random.default_rng(number), number) for number in range(3))
    shown = [view.photometric(view.geometric(image, d, 32).astype(np.float32) / 255, d, RGB) for d in (zero, one, two)]
    plain = view.geometric(image, ViewDraw(), 32).astype(np.float32) / 255
    assert np.array_equal(shown[0], plain)
    assert np.abs(shown[1] - plain).mean() > 0.01 and np.abs(shown[1] - shown[2]).mean() > 0.01
    assert view.clean_teacher and view.for_teacher(image, one) is image


def test_angles_come_as_often_and_as_wide_as_asked_for() -> None:
    angles = np.array([d.angle for d in draws(MultiView(MultiViewConfig(share=1.0, rotate=(0.4, 20.0))), 2000)])
    assert (angles != 0).mean() == pytest.approx(0.4, abs=0.04)
    assert np.abs(angles).max() <= 20 and np.abs(angles).max() > 18 and abs(angles.mean()) < 1


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_comes_as_often_as_asked_for_and_to_photographs_alone(name: str) -> None:
    view = MultiView(MultiViewConfig(**{**WHOLE, "share": 1.0, name: (0.5, 1.0)}))
    image = photograph(64)  # a blur of next to nothing on a smaller one is none
    changed = [not np.array_equal(view.photometric(image, draw, RGB), image) for draw in draws(view)]
    assert np.mean(changed) == pytest.approx(0.5, abs=0.12)
    assert all(np.array_equal(view.photometric(image, draw, DEPTH), image) for draw in draws(view, 20))


def test_patches_are_the_same_cells_in_every_modality_and_hold_its_mean() -> None:
    view = MultiView(MultiViewConfig(**{**WHOLE, "share": 1.0, "patches": (1.0, 0.5)}))
    image, depth = photograph(28), np.random.default_rng(0).random((28, 28, 3), np.float32)
    shares = []
    for draw in draws(view, 60):
        seen, deep = view.photometric(image, draw, RGB), view.photometric(depth, draw, DEPTH)
        hidden = (deep != depth).all(axis=2)
        assert np.array_equal(hidden, hidden[::2, ::2].repeat(2, 0).repeat(2, 1))  # cells of two pixels
        np.testing.assert_allclose(
            deep[hidden], np.broadcast_to(depth.mean(axis=(0, 1)), deep[hidden].shape), atol=1e-5
        )
        assert np.array_equal(seen[~hidden], image[~hidden])
        shares.append(hidden.mean())
    assert np.mean(shares) == pytest.approx(0.25, abs=0.06) and max(shares) <= 0.6


def test_the_recipe_tells_options_apart_and_a_range_goes_up() -> None:
    texts = {MultiView(MultiViewConfig(**options)).recipe for options in ({}, {"fog": (0.5, 0.5)}, {"share": 1.0})}
    assert len(texts) == 3
    assert MultiView(MultiViewConfig(size=96)).recipe == MultiView(MultiViewConfig()).recipe
    with pytest.raises(ValidationError, match=r"scale: the first number is the smaller one, got 0.9 and 0.3"):
        MultiViewConfig(scale=(0.9, 0.3))
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        MultiViewConfig(fog=(0.1, 1.5))
