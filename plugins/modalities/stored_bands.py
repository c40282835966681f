"""Read a file that holds several bands: `.npy`, TIFF and GeoTIFF (through tifffile), PNG and other pictures.

It gives the stored numbers as (H, W, C), and the number that a GeoTIFF's GDAL_NODATA tag names. Compressed TIFFs whose
codec tifffile does not bring (LZW, JPEG) need the package imagecodecs. Pillow reads PNGs of several channels of 16 bits as
8-bit ones, so `png16` reads those. It knows no sensor.
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np

from edgefw.errors import DataError, MissingDependency
from edgefw.plugins.modalities.png16 import is_png16, read_png16
from edgefw.plugins.modalities.stored_maps import NPY, read_array

Layout = Literal["auto", "bands-last", "bands-first"]

_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_NODATA_TAG = 42113
_WHAT = "multispectral image"


def read_bands(data: bytes, where: str, layout: Layout = "auto") -> tuple[np.ndarray, float | None]:
    """Stored numbers (H, W, C) in the file's own type, and the stored number that means no reading, or None.

    Args:
        data: the file's bytes.
        where: what messages start with.
        layout: which axis of an `.npy` array counts bands; "auto": the shorter one of the first and the last.

    Raises:
        DataError: if the bytes are empty, truncated, or no image of bands.
        MissingDependency: if it is a TIFF and tifffile is not installed.
    """
    if not data:
        raise DataError(f"{where}: the file is empty.")
    if data.startswith(NPY):
        return _bands_last(read_array(data, where, _WHAT), layout, where), None
    if data.startswith(_TIFF):
        return _from_tiff(data, where)
    if is_png16(data):
        return read_png16(data, where), None
    return _from_picture(data, where), None


def _bands_last(values: np.ndarray, layout: Layout, where: str) -> np.ndarray:
    if values.ndim == 2 and values.size:
        return values[:, :, None]
    if values.ndim != 3 or not values.size:
        raise DataError(f"{where}: an array of shape {values.shape} is no {_WHAT} (height, width, bands).")
    first = layout == "bands-first" or (layout == "auto" and values.shape[0] < values.shape[2])
    return np.moveaxis(values, 0, 2) if first else values


def _from_tiff(data: bytes, where: str) -> tuple[np.ndarray, float | None]:
    try:
        import tifffile
    except ImportError as error:
        raise MissingDependency(
            f'{where}: TIFF files of bands are read with tifffile. pip install "edgefw[multispectral]"'
        ) from error
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            return _arranged(series.asarray(), series.axes, where), _nodata(file.pages[0])
    except DataError:
        raise
    except Exception as error:  # damaged tags raise nearly anything
        hint = " Install imagecodecs, or save it with deflate or no compression." if "imagecodecs" in str(error) else ""
        raise DataError(f"{where}: the TIFF cannot be decoded ({error}).{hint}") from error


def _arranged(values: np.ndarray, axes: str, where: str) -> np.ndarray:
    """(H, W, C) by tifffile's names of the axes: Y, X, and at most one other that is longer than 1."""
    if "Y" not in axes or "X" not in axes or values.ndim != len(axes) or values.dtype.kind not in "iuf":
        raise DataError(f"{where}: a TIFF with axes {axes} of {values.dtype} is no {_WHAT}.")
    others = [at for at, axis in enumerate(axes) if axis not in "YX"]
    if sum(values.shape[at] > 1 for at in others) > 1 or not values.size:
        raise DataError(f"{where}: a TIFF of shape {values.shape} (axes {axes}) is no {_WHAT}.")
    turned = values.transpose(axes.index("Y"), axes.index("X"), *others)
    return turned.reshape(*turned.shape[:2], -1)


def _nodata(page: Any) -> float | None:
    tag = page.tags.get(_NODATA_TAG)
    try:
        return None if tag is None else float(str(tag.value).strip("\x00 "))
    except ValueError:
        return None


def _from_picture(data: bytes, where: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            values = np.asarray(image)
            mode = image.mode
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: neither .npy, TIFF nor an image format that Pillow knows.") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others
        raise DataError(f"{where}: the image cannot be decoded ({error}).") from error
    if mode not in ("L", "RGB", "RGBA", "CMYK", "F", "I") and not mode.startswith("I;16"):
        raise DataError(f"{where}: an image of mode {mode} is no {_WHAT}.")
    return values if values.ndim == 3 else values[:, :, None]
