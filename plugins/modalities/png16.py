"""Read PNGs of several channels of 16 bits, which Pillow reads as 8-bit ones: RGB, RGBA, grey with alpha.

Chunks, their checksums, zlib and the five row filters are those of the PNG Specification (Third Edition, W3C 2025, sections 5, 7, 9
and 10). A filtered byte needs the pixel to its left, above it, and above that one, so pixels of one diagonal are restored at a time.
Does not: read interlaced files; look at palettes, colour profiles or transparent colours. It knows no sensor.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from edgefw.errors import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")
_CHANNELS = {2: 3, 4: 2, 6: 4}
"""Colour type -> channels."""
_FILTERS = 5
_MOST_PIXELS = 178_956_970
"""Where Pillow refuses an image as a decompression bomb."""


class _Header(NamedTuple):
    """The fields of IHDR."""

    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filters: int
    interlace: int


def is_png16(data: bytes) -> bool:
    """Whether the bytes begin like a PNG of several channels of 16 bits."""
    return data.startswith(_SIGNATURE) and len(data) > 25 and data[24] == 16 and data[25] in _CHANNELS


def read_png16(data: bytes, where: str) -> np.ndarray:
    """The stored numbers, (H, W, C) uint16; C is 3, with alpha 4, for grey with alpha 2.

    Args:
        data: bytes for which `is_png16` holds.
        where: what messages start with.

    Raises:
        DataError: if the file is damaged, cut short or interlaced.
    """
    try:
        return _decoded(data)
    except (ValueError, zlib.error) as error:
        raise DataError(f"{where}: the PNG cannot be decoded ({error}).") from error


def _decoded(data: bytes) -> np.ndarray:
    chunks = list(_chunks(data))
    header = _header(*chunks[0])
    pixel = 2 * _CHANNELS[header.colour]
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    rows = _unpacked(packed, header.height, 1 + header.width * pixel)
    restored = _restored(rows[:, 0], rows[:, 1:].reshape(header.height, header.width, pixel))
    return restored.view(">u2").astype(np.uint16)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, body) of every chunk up to IEND."""
    at, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ValueError("it is cut short")
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body, checksum = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(checksum) < 4:
            raise ValueError("it is cut short")
        if zlib.crc32(kind + body) != int.from_bytes(checksum, "big"):
            raise ValueError(f"the checksum of its chunk {kind.decode('ascii', 'replace')} is wrong")
        yield kind, body
        at += 12 + length


def _header(kind: bytes, body: bytes) -> _Header:
    if kind != b"IHDR" or len(body) != _HEADER.size:
        raise ValueError("it has no header")
    header = _Header(*_HEADER.unpack(body))
    if header.interlace == 1:
        raise ValueError("it is interlaced, which is not read; save it without interlacing, or as TIFF or .npy")
    if (
        header.depth != 16
        or header.colour not in _CHANNELS
        or any((header.compression, header.filters, header.interlace))
    ):
        raise ValueError("its header is damaged")
    if not 0 < header.width * header.height <= _MOST_PIXELS:
        raise ValueError(f"it says that it has {header.width} x {header.height} pixels")
    return header


def _unpacked(packed: bytes, height: int, stride: int) -> np.ndarray:
    """Rows (H, stride) uint8, each with its filter in front; never unpacks more than the header says."""
    decoder = zlib.decompressobj()
    rows = decoder.decompress(packed, height * stride + 1)
    if len(rows) != height * stride or not decoder.eof:
        raise ValueError("its pixels are cut short, or more than its header says")
    found = np.frombuffer(rows, np.uint8).reshape(height, stride)
    if found[:, 0].max() >= _FILTERS:
        raise ValueError(f"it has a row with filter {found[:, 0].max()}, and there are 0 to {_FILTERS - 1}")
    return found


def _restored(filters: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Bytes (H, W, bytes of a pixel) as they were before each row's filter."""
    height, width, pixel = stored.shape
    found = np.zeros((height + 1, width + 1, pixel), np.uint8)  # a row above and a column to the left of zeros
    for diagonal in range(height + width - 1):
        row = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        column = diagonal - row
        around = (found[row + 1, column], found[row, column + 1], found[row, column])
        found[row + 1, column + 1] = stored[row, column] + _predicted(filters[row, None], *around)
    return np.ascontiguousarray(found[1:, 1:])


def _predicted(filters: np.ndarray, left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """What a filter added nothing to: 0, left, up, their mean, or the nearest to left + up - corner (Paeth); uint8."""
    a, b, c = (values.astype(np.int16) for values in (left, up, corner))
    to_left, to_up, to_corner = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    nearest = np.where((to_left <= to_up) & (to_left <= to_corner), a, np.where(to_up <= to_corner, b, c))
    return np.choose(filters, (np.zeros_like(a), a, b, (a + b) // 2, nearest)).astype(np.uint8)
