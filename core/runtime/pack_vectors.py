"""The vectors of a label pack as text: base64 of little-endian numbers, row after row.

    float32, float16     D numbers a row
    int8                 ceil(D / 64) scales in float16, then D bytes: number i is byte i times scale i // 64

One scale for 64 numbers, because a few numbers of a text embedding are often many times larger than the others; with one
scale a row, those would round all the others away. It knows numbers; labels it does not know.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal

import numpy as np

from edgefw.errors import BundleError

Dtype = Literal["int8", "float16", "float32"]

BLOCK = 64
"""Numbers that share a scale."""


def encoded(rows: np.ndarray, dtype: Dtype) -> str:
    """Rows (R, D) float32 of length 1 as text."""
    if dtype != "int8":
        return _text(rows.astype(np.dtype(dtype).newbyteorder("<")))
    scales = _scales(rows)
    factors = _spread(scales, rows.shape[1])
    whole = np.divide(rows, factors, out=np.zeros_like(rows, np.float32), where=factors != 0)
    numbers = np.clip(np.rint(whole), -127, 127).astype(np.int8)
    return _text(np.concatenate([scales.view(np.uint8), numbers.view(np.uint8)], axis=1))


def decoded(text: str, rows: int, width: int, dtype: Dtype) -> np.ndarray:
    """The rows (R, D) float32 that `encoded` was given, rounded.

    Raises:
        BundleError: if the text is no base64, or holds another number of bytes.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BundleError(f"the vectors are not base64 ({error}).") from error
    if len(data) != rows * _row_bytes(width, dtype):
        raise BundleError(f"{len(data)} bytes of vectors do not make {rows} rows of {width} {dtype}.")
    if dtype != "int8":
        return np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(rows, width).astype(np.float32)
    table = np.frombuffer(data, np.uint8).reshape(rows, -1)
    scales = np.ascontiguousarray(table[:, :-width]).view("<f2")
    numbers = np.ascontiguousarray(table[:, -width:]).view(np.int8)
    with np.errstate(invalid="ignore"):  # a scale that is no number makes vectors that are none, and are refused
        result: np.ndarray = numbers * _spread(scales, width)
    return result


def _row_bytes(width: int, dtype: Dtype) -> int:
    return 2 * _blocks(width) + width if dtype == "int8" else width * np.dtype(dtype).itemsize


def _blocks(width: int) -> int:
    return -(-width // BLOCK)


def _scales(rows: np.ndarray) -> np.ndarray:
    """(R, blocks) little-endian float16: the largest number of a block is 127 of them."""
    padded = np.zeros((len(rows), _blocks(rows.shape[1]) * BLOCK), np.float32)
    padded[:, : rows.shape[1]] = np.abs(rows)
    scales: np.ndarray = (padded.reshape(len(rows), -1, BLOCK).max(axis=2) / 127).astype("<f2")
    return scales


def _spread(scales: np.ndarray, width: int) -> np.ndarray:
    """(R, width) float32: to each number its scale."""
    return np.repeat(scales.astype(np.float32), BLOCK, axis=1)[:, :width]


def _text(table: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(table).tobytes()).decode("ascii")
