"""Promises of a view, see `edgefw.contracts.view`."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from edgefw.contracts.view import Numbering, ViewDraw
from edgefw.testing.subject import Subject

SIZE = 24


def draws_are_replayable(subject: Subject) -> None:
    """The same generator state gives the same draw; boxes lie inside the image and are not empty."""
    view = subject.piece
    for seed in range(20):
        first, second = (view.draw(np.random.default_rng(seed)) for _ in range(2))
        assert first == second, f"{first} and {second} from one seed"
        left, top, right, bottom = first.box
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1, f"box {first.box}"


def geometry_keeps_type_and_channels(subject: Subject) -> None:
    """(H, W) and (H, W, C) of any dtype become (size, size[, C]) of the same dtype, whatever the shape of the image."""
    view = subject.piece
    for image in _images():
        for draw in _draws(subject):
            result = view.geometric(image, draw, SIZE)
            assert result.shape == (SIZE, SIZE, *image.shape[2:]), f"{image.shape} became {result.shape}"
            assert result.dtype == image.dtype, f"{image.dtype} became {result.dtype}"


def all_modalities_move_alike(subject: Subject) -> None:
    """One draw moves every modality of a sample alike, whatever its resolution: a ramp stays the same ramp."""
    view = subject.piece
    small, large = (
        np.add.outer(np.linspace(0, 1, side), np.linspace(0, 3, side)).astype(np.float32) for side in (60, 120)
    )
    for draw in _draws(subject):
        one, other = (view.geometric(image, draw, SIZE) for image in (small, large))
        assert np.abs(one - other).mean() < 0.1, f"{draw}: two resolutions of one scene differ"


def the_same_draw_gives_the_same_picture(subject: Subject) -> None:
    """Geometry and colours are functions of the image and the draw; random states of the process change nothing."""
    view, modality = subject.piece, SimpleNamespace(name="rgb", colour=True)
    image = _images()[0]
    for draw in _draws(subject):
        results = []
        for seed in (1, 2):
            np.random.seed(seed)
            unit = view.geometric(image, draw, SIZE).astype(np.float32) / 255
            results.append((unit, view.photometric(unit, draw, modality), view.for_teacher(image, draw)))
        for one, other in zip(*results, strict=True):
            assert np.array_equal(one, other), f"{draw}: two passes differ"


def colours_stay_in_range(subject: Subject) -> None:
    """Photometric changes keep (size, size, C) float32 in 0..1, for photographs and for other sensors."""
    view = subject.piece
    unit = np.random.default_rng(0).random((SIZE, SIZE, 3), np.float32)
    for modality in (SimpleNamespace(name="rgb", colour=True), SimpleNamespace(name="depth", colour=False)):
        for draw in _draws(subject):
            result = view.photometric(unit.copy(), draw, modality)
            assert result.shape == unit.shape and result.dtype == np.float32, f"{result.shape} {result.dtype}"
            assert result.min() >= 0 and result.max() <= 1, f"values from {result.min()} to {result.max()}"


def inputs_are_left_alone(subject: Subject) -> None:
    """No image is changed in place: the next view starts from the same pixels."""
    view, modality = subject.piece, SimpleNamespace(name="rgb", colour=True)
    for image in _images():
        before = image.copy()
        for draw in _draws(subject):
            unit = np.asarray(view.geometric(image, draw, SIZE), np.float32)
            kept = np.clip(np.nan_to_num(unit), 0, 1)
            given = kept.copy()
            if given.ndim == 3:
                view.photometric(given, draw, modality)
            assert np.array_equal(given, kept), "photometric changed its input"
        assert np.array_equal(image, before, equal_nan=image.dtype.kind == "f"), "geometric changed its input"


def teacher_sees_a_picture(subject: Subject) -> None:
    """`for_teacher` gives an (H, W, 3) uint8 picture with at least one pixel."""
    image = _images()[0]
    for draw in _draws(subject):
        picture = subject.piece.for_teacher(image, draw)
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.size, (
            f"{picture.shape}"
        )


def recipe_names_the_view(subject: Subject) -> None:
    """`recipe` is a text, the same for the same options: it is part of the teacher cache's key."""
    first, second = subject.build(), subject.build()
    assert isinstance(first.recipe, str) and first.recipe and first.recipe == second.recipe
    assert first.size is None or first.size > 0


def view_zero_is_clean(subject: Subject) -> None:
    """It provides "clean" exactly when it has `draw_number`; number 0 is then the whole image, in its own colours."""
    view, modality = subject.piece, SimpleNamespace(name="rgb", colour=True)
    says = "clean" in subject.technique.provided(subject.config)
    assert isinstance(view, Numbering) == says, "provides says one thing about clean views, the view another"
    if not isinstance(view, Numbering):
        return
    for seed in range(4):
        clean = view.draw_number(np.random.default_rng(seed), 0)
        assert (clean.box, clean.flip) == ((0.0, 0.0, 1.0, 1.0), False), f"{clean}"
        unit = np.random.default_rng(seed).random((SIZE, SIZE, 3), np.float32)
        assert np.array_equal(subject.piece.photometric(unit, clean, modality), unit), "view 0 has other colours"
        first, second = (view.draw_number(np.random.default_rng(seed), 1) for _ in range(2))
        assert first == second, f"{first} and {second} from one seed"


CHECKS = (
    draws_are_replayable,
    geometry_keeps_type_and_channels,
    all_modalities_move_alike,
    the_same_draw_gives_the_same_picture,
    colours_stay_in_range,
    inputs_are_left_alone,
    teacher_sees_a_picture,
    recipe_names_the_view,
    view_zero_is_clean,
)


def _draws(subject: Subject) -> list[ViewDraw]:
    return [subject.piece.draw(np.random.default_rng(seed)) for seed in range(4)]


def _images() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    holes = draw.random((40, 50)).astype(np.float32)
    holes[10:20, 10:20] = np.nan
    return [
        draw.integers(0, 256, (50, 40, 3), np.uint8),
        draw.integers(0, 256, (30, 70), np.uint8),
        holes,
        draw.random((33, 33, 4)).astype(np.float32),
        draw.integers(0, 256, (1, 1, 3), np.uint8),
    ]
