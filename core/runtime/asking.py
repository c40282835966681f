"""Ask an opened file about a batch, whatever its runtime: its answers, or one reason why there are none."""

from __future__ import annotations

from collections.abc import Mapping
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


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
