"""A file with its preprocessing inside, opened in ONNX Runtime, and asked beside the file that it was made from.

It takes pictures as they were decoded; the other file sees the same pictures through the bundle's preprocessing. What the
answers are worth, `edgefw.evaluation.folded_numbers` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefw.errors import BundleError, DataError
from edgefw.runtime.integer_products import exact_session

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.runtime.preprocessing import Preprocessing

INPUT = "picture"
"""Name of the graph's input."""
Ask = Callable[[np.ndarray], np.ndarray]
"""(B, H, W, 3) uint8 to (B, D)."""


def open_folded(file: Path, threads: int | None) -> Ask:
    """The file in ONNX Runtime: (B, H, W, 3) uint8 to (B, D).

    Raises:
        BundleError: if it does not open, or, when called, does not run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads or 0, 3
    try:
        session = exact_session(str(file), options)
    except Exception as error:  # whatever the runtime raises
        raise BundleError(f"does not open ({_reason(error)})") from error

    def ask(pictures: np.ndarray) -> np.ndarray:
        try:
            rows: np.ndarray = session.run(None, {INPUT: pictures})[0]
        except Exception as error:  # whatever the runtime raises
            raise BundleError(f"fails on a picture of {pictures.shape[1:]} ({_reason(error)})") from error
        return rows

    return ask


def answers(
    pictures: Iterable[np.ndarray], contract: Preprocessing, ask: Ask, source: Runner
) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) of pictures through the folded file, one by one, and through preprocessing and its source.

    Args:
        pictures: (H, W, 3) uint8 each.
        contract: the preprocessing in front of the source.
        ask: the folded file.
        source: of one input.

    Raises:
        BundleError: if the folded file does not run, or gives another shape than its source.
        DataError: if there is no picture.
    """
    (name,) = source.inputs
    found, expected = [], []
    for picture in pictures:
        found.append(ask(picture[None]))
        expected.append(source.run({name: contract(picture)[None]}))
        if found[-1].shape != expected[-1].shape:
            raise BundleError(f"gives shape {found[-1].shape}, its source {expected[-1].shape}")
    if not found:
        raise DataError("none of the pictures that it was to be shown can be read")
    return np.concatenate(found), np.concatenate(expected)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
