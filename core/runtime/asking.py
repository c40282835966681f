"""Ask an opened file about a batch, whatever its runtime: its answers, or one reason why there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgefw.errors import BundleError

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner


def ask(runner: Runner, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Embeddings (B, D) of images (B, C, H, W) by input.

    Raises:
        BundleError: with the runtime's reason, if the file does not take them or gives something else.
    """
    count = len(next(iter(inputs.values())))
    try:
        embeddings = runner.run(inputs)
    except Exception as error:  # every runtime has exceptions of its own
        raise BundleError(f"fails on a batch of {count} ({_first_line(error)})") from error
    if embeddings.ndim != 2 or len(embeddings) != count:
        raise BundleError(f"gives shape {embeddings.shape} for a batch of {count}")
    return embeddings


def ask_both_ways(
    runner: Runner, samples: Sequence[Mapping[str, np.ndarray]], most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, D) of N samples, each asked about alone; and those of all of them in batches.

    Args:
        runner: opened.
        samples: N times images (1, C, H, W) by input.
        most: in a batch; None: all in one.

    Raises:
        BundleError: with the runtime's reason, if the file does not take them or gives something else.
    """
    step = most or len(samples)
    batches = [ask(runner, _together(samples[at : at + step])) for at in range(0, len(samples), step)]
    each, width = [ask(runner, own) for own in samples], batches[0].shape[1]
    if other := [rows.shape[1] for rows in each if rows.shape[1] != width]:
        raise BundleError(f"gives {other[0]} numbers for an image alone, {width} for each of a batch")
    if other := [rows.shape[1] for rows in batches if rows.shape[1] != width]:
        raise BundleError(f"gives {other[0]} numbers for each image of one batch, {width} of another")
    return np.concatenate(each), np.concatenate(batches)


def _together(samples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([own[name] for own in samples]) for name in samples[0]}


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
