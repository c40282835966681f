"""Random resized crops against torchvision's draw and Pillow's pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import ks_2samp
from torchvision import transforms
from torchvision.transforms import functional

from edgefw.contracts.view import ViewDraw
from edgefw.plugins.views.crop_flip import CropFlip, CropFlipConfig

RNG = np.random.default_rng(2)
PICTURE = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)


def boxes(config: CropFlipConfig, count: int) -> np.ndarray:
    rng = np.random.default_rng(11)
    return np.array([CropFlip(config).draw(rng).box for _ in range(count)])


@pytest.mark.parametrize(("scale", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.3, 0.6), (0.5, 2.0))])
def test_the_draw_is_distributed_as_torchvisions(scale: tuple, ratio: tuple) -> None:
    torch.manual_seed(4)
    side, count = 4000, 2500
    reference = np.array(
        [
            transforms.RandomResizedCrop.get_params(torch.empty(3, side, side), list(scale), list(ratio))
            for _ in range(count)
        ]
    )  # top, left, height, width
    left, top, right, bottom = boxes(CropFlipConfig(scale=scale, ratio=ratio), count).T
    pairs = {
        "width": (right - left, reference[:, 3] / side),
        "height": (bottom - top, reference[:, 2] / side),
        "area": ((right - left) * (bottom - top), reference[:, 2] * reference[:, 3] / side**2),
        "ratio": ((right - left) / (bottom - top), reference[:, 3] / reference[:, 2]),
        "left": (left, reference[:, 1] / side),
        "top": (top, reference[:, 0] / side),
    }
    for name, (ours, theirs) in pairs.items():
        assert ks_2samp(ours, theirs).pvalue > 1e-3, name


def test_boxes_stay_inside_the_image_and_in_the_ranges() -> None:
    left, top, right, bottom = boxes(CropFlipConfig(scale=(0.2, 0.7)), 2000).T
    area = (right - left) * (bottom - top)
    assert min(left.min(), top.min()) >= 0 and max(right.max(), bottom.max()) <= 1
    assert area.min() >= 0.2 - 1e-9 and area.max() <= 0.7 + 1e-9


@pytest.mark.parametrize(("ratio", "sides"), [((2.0, 3.0), (1.0, 0.5)), ((0.25, 0.5), (0.5, 1.0))])
def test_when_no_try_fits_the_largest_crop_of_that_ratio_is_taken(ratio: tuple, sides: tuple) -> None:
    draw = CropFlip(CropFlipConfig(scale=(1.0, 1.0), ratio=ratio)).draw(np.random.default_rng(0))
    left, top, right, bottom = draw.box
    assert (right - left, bottom - top) == pytest.approx(sides)


def test_flips_come_as_often_as_asked() -> None:
    rng = np.random.default_rng(7)
    view = CropFlip(CropFlipConfig(flip=0.3))
    assert np.mean([view.draw(rng).flip for _ in range(3000)]) == pytest.approx(0.3, abs=0.03)
    assert not any(CropFlip(CropFlipConfig(flip=0.0)).draw(rng).flip for _ in range(50))


def test_the_same_seed_gives_the_same_view() -> None:
    view = CropFlip(CropFlipConfig())
    first, second = (view.draw(np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert view.geometric(PICTURE, first, 24).tobytes() == view.geometric(PICTURE, second, 24).tobytes()


def test_pixels_equal_torchvisions_crop_inside() -> None:
    draw = ViewDraw(box=(0.25, 0.25, 0.75, 0.75), flip=True)  # 40 x 30 whole pixels
    image = functional.to_pil_image(torch.from_numpy(PICTURE.transpose(2, 0, 1)))
    bicubic = transforms.InterpolationMode.BICUBIC
    reference = functional.hflip(functional.resized_crop(image, 15, 20, 30, 40, [20, 20], bicubic))
    ours = CropFlip(CropFlipConfig()).geometric(PICTURE, draw, 20)
    np.testing.assert_array_equal(ours[4:-4, 4:-4], np.asarray(reference)[4:-4, 4:-4])
    assert ours.shape == (20, 20, 3) and ours.flags.c_contiguous


def test_modalities_of_other_resolution_see_the_same_part() -> None:
    columns = np.tile(np.linspace(0, 1, 640, dtype=np.float32), (480, 1))
    small = columns.reshape(120, 4, 160, 4).mean((1, 3))
    view = CropFlip(CropFlipConfig())
    draw = ViewDraw(box=(0.137, 0.21, 0.683, 0.77), flip=True)
    difference = view.geometric(columns, draw, 32) - view.geometric(small, draw, 32)
    assert np.abs(difference).max() < 2e-3


def test_depth_is_not_mixed_with_holes() -> None:
    depth = np.full((40, 40), 3.0, np.float32)
    depth[10:20, 10:30] = np.nan
    for filter in ("bilinear", "nearest"):
        view = CropFlip(CropFlipConfig(values_filter=filter))
        values = view.geometric(depth, ViewDraw(box=(0.1, 0.1, 0.9, 0.9)), 13)
        np.testing.assert_allclose(values[~np.isnan(values)], 3.0, rtol=1e-6)
        assert 0 < np.isnan(values).mean() < 0.5


def test_nearest_never_makes_new_values() -> None:
    depth = RNG.uniform(1, 5, (40, 40)).astype(np.float32)
    values = CropFlip(CropFlipConfig(values_filter="nearest")).geometric(depth, ViewDraw(box=(0.1, 0, 0.8, 0.9)), 17)
    assert np.isin(values, depth).all()


def test_the_teacher_sees_the_crop_or_the_clean_image() -> None:
    draw = ViewDraw(box=(0.25, 0.5, 0.75, 1.0), flip=True)
    cropped = CropFlip(CropFlipConfig()).for_teacher(PICTURE, draw)
    np.testing.assert_array_equal(cropped, PICTURE[30:60, 20:60][:, ::-1])
    assert CropFlip(CropFlipConfig(teacher="clean")).for_teacher(PICTURE, draw) is PICTURE
    tiny = CropFlip(CropFlipConfig()).for_teacher(PICTURE[:1, :1], ViewDraw(box=(0.9, 0.9, 1.0, 1.0)))
    assert tiny.shape == (1, 1, 3)


def test_the_recipe_changes_with_what_is_drawn() -> None:
    default = CropFlip(CropFlipConfig()).recipe
    assert default == CropFlip(CropFlipConfig(size=224, filter="bilinear")).recipe
    for options in ({"scale": (0.1, 1.0)}, {"ratio": (1.0, 1.0)}, {"flip": 0.4}, {"teacher": "clean"}):
        assert CropFlip(CropFlipConfig(**options)).recipe != default


def test_ranges_that_go_down_are_refused() -> None:
    with pytest.raises(ValidationError, match="scale: the first number is the smaller one"):
        CropFlipConfig(scale=(0.9, 0.1))
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        CropFlipConfig(scale=(0.5, 1.5))
