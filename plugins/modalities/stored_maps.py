"""Read a file that holds one number per pixel: `.npy`, PNG, TIFF and whatever else Pillow knows of one channel.

Modalities of one channel (depth, near infrared, thermal) share this. It gives the stored numbers as they are; what
they mean is the modality's business.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgefw.errors import DataError

NPY = b"\x93NUMPY"
"""How every `.npy` file begins."""
_NUMBERS = ("L", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def read_map(data: bytes, where: str, what: str, grey_colours: bool = False) -> np.ndarray:
    """The stored numbers (H, W) of a file, in the file's own type.

    Args:
        data: the file's bytes.
        where: what messages start with.
        what: what the file should be, for messages: "depth map".
        grey_colours: take a colour image whose three channels are equal, as many cameras write grey ones.

    Raises:
        DataError: if the bytes are empty, truncated, or hold no such map.
    """
    if not data:
        raise DataError(f"{where}: the file is empty.")
    if data.startswith(NPY):
        return _one_channel(read_array(data, where, what), where, what)
    return _from_image(data, where, what, grey_colours)


def read_array(data: bytes, where: str, what: str) -> np.ndarray:
    """The array of an `.npy` file of integers or floats, of any shape.

    Raises:
        DataError: if it is damaged or holds something else.
    """
    try:
        values: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a damaged header raises ValueError, SyntaxError, EOFError and others
        raise DataError(f"{where}: the .npy file cannot be read ({error}).") from error
    if not (np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)):
        raise DataError(f"{where}: an array of {values.dtype} is no {what}.")
    return values


def _from_image(data: bytes, where: str, what: str, grey_colours: bool) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode == "RGB" and grey_colours:
                return _equal_channels(np.asarray(image), where, what)
            if image.mode not in _NUMBERS:
                raise DataError(f"{where}: a colour image (mode {image.mode}) is no {what} of one channel.")
            return np.asarray(image)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: neither .npy nor an image format that Pillow knows.") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others
        raise DataError(f"{where}: the image cannot be decoded ({error}).") from error


def _equal_channels(values: np.ndarray, where: str, what: str) -> np.ndarray:
    if not (values == values[:, :, :1]).all():
        raise DataError(f"{where}: an image whose three channels differ is no {what}.")
    return values[:, :, 0]


def _one_channel(values: np.ndarray, where: str, what: str) -> np.ndarray:
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[:, :, 0]
    if values.ndim != 2 or values.size == 0:
        raise DataError(f"{where}: an array of shape {values.shape} is no {what} (height, width).")
    return values
