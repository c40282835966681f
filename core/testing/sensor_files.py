"""Files as sensors write them, and damaged ones: what a modality is tried on."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def sensor_files(seed: int = 0) -> dict[str, bytes]:
    """Name -> bytes of a small image of each common sort: colour, grey, 16-bit, floating point, bands; drawn by `seed`."""
    draw = np.random.default_rng(seed)
    colour = draw.integers(0, 256, (30, 40, 3), np.uint8)
    counts = draw.integers(500, 5000, (30, 40)).astype(np.uint16)
    arrays = {
        "colour.png": (colour, "png"),
        "colour.jpg": (colour, "jpeg"),
        "grey.png": (colour[:, :, 0], "png"),
        "counts.png": (counts, "png"),
        "counts.tiff": (counts, "tiff"),
        "metres.tiff": ((counts / 1000).astype(np.float32), "tiff"),
    }
    files = {name: _encoded(array, form) for name, (array, form) in arrays.items()}
    for channels in (2, 4, 8, 13):
        stack = io.BytesIO()
        np.save(stack, draw.integers(0, 4000, (30, 40, channels)).astype(np.uint16))
        files[f"channels-{channels}.npy"] = stack.getvalue()
    return files


def damaged(data: bytes) -> dict[str, bytes]:
    """Name -> what a broken disk or transfer makes of a file."""
    middle = len(data) // 2
    return {
        "empty": b"",
        "a text": b"this is no image\n" * 10,
        "zeros": bytes(len(data)),
        "the first half": data[:middle],
        "the first 20 bytes": data[:20],
        "noise in the middle": data[:middle]
        + bytes(255 - byte for byte in data[middle : middle + 40])
        + data[middle + 40 :],
    }


def _encoded(array: np.ndarray, form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, form)
    return file.getvalue()
