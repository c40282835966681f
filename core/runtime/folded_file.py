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
from edgefw.runtime.denormals import flushed
from edgefw.runtime.integer_products import exact_session

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.runtime.preprocessing import Preprocessing

INPUT = "picture"
"""Name of the graph's input."""
SHARE = 0.02
"""Of a picture's values, so many may differ by one step from Pillow's, see `edgefw.stages.folding`."""
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
            with flushed():
                rows: np.ndarray = session.run(None, {INPUT: pictures})[0]
        except Exception as error:  # whatever the runtime raises
            raise BundleError(f"fails on a picture of {pictures.shape[1:]} ({_reason(error)})") from error
        return rows

    return ask


def answers(
    pictures: Iterable[np.ndarray], contract: Preprocessing, ask: Ask, source: Runner
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, D) of pictures through the folded file, one by one; through preprocessing and its source; and through its source
    again, with `SHARE` of the prepared values one step of 255 higher or lower, as another rounding would leave them.

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
    draw = np.random.default_rng(0)
    rows = []
    for picture in pictures:
        found, prepared = ask(picture[None]), contract(picture)
        moved = (prepared + _moves(contract, prepared.shape, draw)).astype(np.float32)
        expected, disturbed = (source.run({name: values[None]}) for values in (prepared, moved))
        if found.shape != expected.shape:
            raise BundleError(f"gives shape {found.shape}, its source {expected.shape}")
        rows.append((found, expected, disturbed))
    if not rows:
        raise DataError("none of the pictures that it was to be shown can be read")
    first, second, third = (np.concatenate(column) for column in zip(*rows))
    return first, second, third


def _moves(contract: Preprocessing, shape: tuple[int, ...], draw: np.random.Generator) -> np.ndarray:
    """(C, H, W): one step of a picture's 255, as prepared values have it, up or down in `SHARE` of all places; else 0."""
    low, high = (contract(np.full((*shape[1:], 3), value, np.uint8)) for value in (128, 129))
    moves: np.ndarray = np.abs(high - low) * draw.choice((-1.0, 0.0, 1.0), shape, p=(SHARE / 2, 1 - SHARE, SHARE / 2))
    return moves


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
