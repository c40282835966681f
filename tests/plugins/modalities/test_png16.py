"""PNGs of several channels of 16 bits: every filter, every colour type, OpenCV's own, and damage of every kind."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from png16_files import chunk, png16, png16_of

from edgefw.errors import DataError
from edgefw.plugins.modalities.png16 import is_png16, read_png16

DRAW = np.random.default_rng(3)
NOISE = DRAW.integers(0, 65536, (7, 5, 4)).astype(np.uint16)
SMOOTH = (np.add.outer(np.arange(7) * 700, np.arange(5) * 300)[:, :, None] + np.array([0, 9, 40_000, 60_000])).astype(
    np.uint16
)
FILE = png16(NOISE[:, :, :3], (0, 1, 2, 3, 4))
HEADER = (5, 7, 16, 2, 0, 0, 0)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("filters", [(0,), (1,), (2,), (3,), (4,), (4, 0, 3, 1, 2)], ids=str)
def test_every_filter_and_colour_type_gives_the_stored_numbers(filters: tuple[int, ...], channels: int) -> None:
    for values in (NOISE[:, :, :channels], SMOOTH[:, :, :channels]):
        data = png16(values, filters)
        assert is_png16(data)
        found = read_png16(data, "p")
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, values)


@given(
    st.integers(1, 6), st.integers(1, 6), st.sampled_from([2, 3, 4]), st.lists(st.integers(0, 4), min_size=1), st.data()
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_comes_back(height: int, width: int, channels: int, filters: list[int], data) -> None:
    numbers = data.draw(st.binary(min_size=2 * height * width * channels, max_size=2 * height * width * channels))
    values = np.frombuffer(numbers, np.uint16).reshape(height, width, channels)
    np.testing.assert_array_equal(read_png16(png16(values, filters, parts=3), "p"), values)


@pytest.mark.parametrize("channels", [3, 4])
def test_opencv_writes_what_is_read_and_reads_the_same(channels: int) -> None:
    cv2 = pytest.importorskip("cv2")
    ramp = np.add.outer(np.arange(40) * 311, np.arange(60) * 97)[:, :, None] + DRAW.integers(0, 300, (40, 60, channels))
    values = ramp.astype(np.uint16)
    swapped = values[:, :, [2, 1, 0, 3][:channels]]
    done, written = cv2.imencode(".png", swapped)
    assert done
    np.testing.assert_array_equal(read_png16(written.tobytes(), "p"), values)
    by_hand = np.frombuffer(png16(values, (4, 3, 2, 1, 0)), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(by_hand, cv2.IMREAD_UNCHANGED), swapped)


def test_other_files_are_not_its_own() -> None:
    for depth, colour in ((8, 2), (8, 6), (16, 0), (8, 4), (8, 3)):
        assert not is_png16(png16_of(b"", (5, 7, depth, colour, 0, 0, 0)))
    assert not is_png16(b"") and not is_png16(FILE[:25]) and not is_png16(b"II*\0" + FILE[4:])


def rows(count: int, kind: int = 0) -> bytes:
    return zlib.compress((bytes([kind]) + bytes(30)) * count)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (FILE[:30], "it is cut short"),
        (FILE[:-1], "it is cut short"),
        (FILE[:-12], "it is cut short"),
        (FILE[:50] + bytes([FILE[50] ^ 1]) + FILE[51:], "the checksum of its chunk "),
        (
            png16(NOISE[:, :, :3], interlace=1),
            "it is interlaced, which is not read; save it without interlacing, or as ",
        ),
        (png16_of(rows(7), (5, 7, 16, 2, 0, 0, 9)), "its header is damaged"),
        (png16_of(rows(7), (5, 7, 16, 2, 1, 0, 0)), "its header is damaged"),
        (png16_of(rows(7), (0, 7, 16, 2, 0, 0, 0)), "it says that it has 0 x 7 pixels"),
        (
            png16_of(rows(7), (2**31 - 1, 2**31 - 1, 16, 2, 0, 0, 0)),
            "it says that it has 2147483647 x 2147483647 pixels",
        ),
        (png16_of(rows(6), HEADER), "its pixels are cut short, or more than its header says"),
        (png16_of(rows(8), HEADER), "its pixels are cut short, or more than its header says"),
        (png16_of(rows(7)[:-4], HEADER), "its pixels are cut short, or more than its header says"),
        (png16_of(b"", HEADER), "its pixels are cut short, or more than its header says"),
        (png16_of(rows(7, kind=5), HEADER), "it has a row with filter 5, and there are 0 to 4"),
        (png16_of(b"no zlib", HEADER), "Error -3 while decompressing data"),
        (FILE[:8] + chunk(b"IHDR", FILE[16:29] + b"\0") + FILE[33:], "it has no header"),
    ],
)
def test_a_damaged_file_is_one_message(data: bytes, reason: str) -> None:
    assert is_png16(data)
    with pytest.raises(DataError) as caught:
        read_png16(data, "scene.png")
    assert str(caught.value).startswith(f"scene.png: the PNG cannot be decoded ({reason}")
    assert str(caught.value).endswith(").")


def test_a_small_file_cannot_unpack_to_more_than_its_header_says() -> None:
    with pytest.raises(DataError, match="more than its header says"):
        read_png16(png16_of(zlib.compress(bytes(50_000_000)), HEADER), "p")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(FILE)), st.binary(max_size=12))
def test_damaged_bytes_give_numbers_or_a_data_error(at: int, junk: bytes) -> None:
    for data in (FILE[:at], FILE[:at] + junk + FILE[at + len(junk) :], FILE[:at] + junk + FILE[at:]):
        read_or_refused(data)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=80),
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.just(16), st.sampled_from([2, 4, 6]), *[st.integers(0, 2)] * 3),
    st.booleans(),
)
def test_damage_under_right_checksums_is_a_data_error_too(body: bytes, header: tuple[int, ...], packed: bool) -> None:
    read_or_refused(png16_of(zlib.compress(body) if packed else body, header))


def read_or_refused(data: bytes) -> None:
    try:
        found = read_png16(data, "p")
        assert found.dtype == np.uint16 and found.ndim == 3
    except DataError as error:
        assert str(error).startswith("p: the PNG cannot be decoded (")
