"""Images of a download: files that are copied as they are, and pictures that are made from arrays.

Every image is decoded before it is written, so that a file that a transfer cut short is found now. It knows Pillow; it
knows no layout.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from edgefw.preparing.download import Unreadable

JPEG_QUALITY = 95
_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class CopiedImage:
    """A file that is written as it is, once `check` has read it."""

    path: Path
    check: Callable[[Path], object]

    @property
    def where(self) -> str:
        """The file."""
        return str(self.path)

    @property
    def ending(self) -> str:
        """The file's own."""
        return self.path.suffix.lower()

    def write(self, target: Path) -> None:
        """Check and copy."""
        self.check(self.path)
        target.write_bytes(file_bytes(self.path))


@dataclass(frozen=True)
class MadeImage:
    """A picture of an array: (H, W, 3) or (H, W) uint8, or (H, W) uint16; `.png` or `.jpg`."""

    where: str
    ending: str
    make: Callable[[], np.ndarray]

    def write(self, target: Path) -> None:
        """Make and encode."""
        Pillow.fromarray(self.make()).save(target, quality=JPEG_QUALITY)


def colour(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 of an image file.

    Raises:
        Unreadable: if it cannot be decoded.
    """
    return np.asarray(decoded(path).convert("RGB"))


def depth_counts(path: Path) -> np.ndarray:
    """(H, W) uint16 of a 16-bit image file with one channel.

    Raises:
        Unreadable: if it cannot be decoded, or has other values.
    """
    image = decoded(path)
    if image.mode not in _SIXTEEN_BITS:
        raise Unreadable(f"is no 16-bit depth image (mode {image.mode})")
    return np.asarray(image).astype(np.uint16)


def resized_colour(path: Path, like: Path) -> np.ndarray:
    """A colour image at the size of another image, averaged where it shrinks.

    Raises:
        Unreadable: if one of the files cannot be decoded.
    """
    image, size = decoded(path).convert("RGB"), decoded(like).size
    return np.asarray(image if image.size == size else image.resize(size, Pillow.Resampling.BOX))


def file_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        Unreadable: if it cannot be read or is empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror or error})") from error
    if not data:
        raise Unreadable("is empty")
    return data


def decoded(path: Path) -> Pillow.Image:
    """A whole image.

    Raises:
        Unreadable: if the file cannot be read or decoded.
    """
    try:
        image = Pillow.open(io.BytesIO(file_bytes(path)))
        image.load()
    except Unreadable:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others
        raise Unreadable("cannot be decoded") from error
    return image
