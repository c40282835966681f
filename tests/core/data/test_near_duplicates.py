"""Difference hashes against a hand-written loop, distances against Python's integers, and what changes a hash little."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgefw.data import near_duplicates
from edgefw.data.near_duplicates import difference_hash, distances, find_matches


def photographs() -> list[np.ndarray]:
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    names = ("chelsea.png", "astronaut.png", "coffee.png", "rocket.jpg")
    return [np.asarray(Image.open(folder / name).convert("RGB")) for name in names]


def bits(first: int | None, second: int | None) -> int:
    assert first is not None and second is not None
    return (first ^ second).bit_count()


def test_a_hash_is_the_sign_of_neighbouring_means() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (8, 9))
    picture = grey.repeat(4, 0).repeat(5, 1).astype(np.uint8)[:, :, None].repeat(3, 2)
    text = "".join("1" if grey[y, x + 1] > grey[y, x] else "0" for y in range(8) for x in range(8))
    assert difference_hash(picture) == int(text, 2)


def test_a_flat_picture_has_no_hash() -> None:
    assert difference_hash(np.full((20, 30, 3), 90, np.uint8)) is None


def test_copies_stay_close_and_other_pictures_are_far() -> None:
    pictures = photographs()
    hashes = [difference_hash(picture) for picture in pictures]
    for picture, own in zip(pictures, hashes):
        file = io.BytesIO()
        image = Image.fromarray(picture)
        image.resize((image.width // 3, image.height // 3)).save(file, "JPEG", quality=60)
        assert bits(own, difference_hash(np.asarray(Image.open(file)))) <= 3
        darker = (picture * 0.8).astype(np.uint8)
        assert bits(own, difference_hash(darker)) <= 3
    others = [bits(one, two) for one in hashes for two in hashes if one != two]
    assert min(others) > 12


@pytest.mark.parametrize("numpy_2", [True, False])
def test_distances_are_the_bits_that_differ(numpy_2: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not numpy_2:
        monkeypatch.delattr(near_duplicates.np, "bitwise_count", raising=False)
    draw = np.random.default_rng(1)
    first, second = (draw.integers(0, 2**64, count, dtype=np.uint64) for count in (7, 11))
    expected = [[(int(one) ^ int(two)).bit_count() for two in second] for one in first]
    np.testing.assert_array_equal(distances(first, second), expected)


@given(st.lists(st.integers(0, 255), max_size=12), st.lists(st.integers(0, 255), max_size=12), st.integers(0, 5))
def test_matches_are_all_pairs_within_the_distance(first: list[int], second: list[int], most: int) -> None:
    matches = find_matches(np.array(first, np.uint64), np.array(second, np.uint64), most)
    pairs = [(m, n) for m, one in enumerate(first) for n, two in enumerate(second) if (one ^ two).bit_count() <= most]
    assert matches.pairs == len(pairs) and matches.images == len({m for m, _ in pairs})
    for m, n, distance in matches.closest:
        assert distance == (first[m] ^ second[n]).bit_count() == min((first[m] ^ two).bit_count() for two in second)


def test_blocks_change_nothing_and_examples_are_the_closest(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(2)
    first, second = (draw.integers(0, 2**12, count, dtype=np.uint64) for count in (200, 90))
    whole = find_matches(first, second, 4, most=15)
    monkeypatch.setattr(near_duplicates, "_BLOCK", 1)
    assert find_matches(first, second, 4, most=15) == whole
    assert len(whole.closest) == 15 and [d for _, _, d in whole.closest] == sorted(d for _, _, d in whole.closest)
    assert whole.closest[-1][2] == 0 or whole.images >= 15
