"""Endings of file names for images, from what the caller knows or from the first bytes of the image."""

from __future__ import annotations

import re

_FITTING = re.compile(r"(?!part$)[A-Za-z0-9]{1,8}")
"""Endings that a stored picture may have; `.part` means a file that is not finished."""

_FORMATS = {
    "jpg": rb"\xff\xd8\xff",
    "png": rb"\x89PNG\r\n",
    "gif": rb"GIF8",
    "bmp": rb"BM",
    "tif": rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
    "webp": rb"RIFF....WEBP",
    "npy": rb"\x93NUMPY",
    "pnm": rb"P[1-6]\s",
}
"""How files of the formats that are looked for in folders begin."""


def fitting_ending(image: bytes, ending: str) -> str:
    """The ending where it can be one of a stored picture, else that of the image's format; "bin" where that is unknown.

    Args:
        image: the file as bytes.
        ending: without a dot, such as "jpg"; "" where the file had none.
    """
    if _FITTING.fullmatch(ending):
        return ending
    return next((name for name, start in _FORMATS.items() if re.match(start, image, re.DOTALL)), "bin")
