"""A network as torch.export sees it: one graph of its operations, with a dynamic or a fixed batch.

What compilers and quantizers of exported programs start from. It knows torch, and no compiler.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

LARGEST_BATCH = 65_536


def captured(network: nn.Module, examples: Mapping[str, np.ndarray]) -> torch.export.ExportedProgram:
    """The exported program of any number of images, at most `LARGEST_BATCH`.

    Args:
        network: takes one tensor per entry of `examples`, in their order.
        examples: input name -> (B, C, H, W) float32; a batch of one is doubled, because torch would fix it.
    """
    images = tuple(torch.from_numpy(np.concatenate([values[:2], values[:2]])[:2]) for values in examples.values())
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    shapes: tuple[Any, ...] = tuple({0: batch} for _ in images)
    kinds = [parameter.kind for parameter in inspect.signature(network.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        shapes = (shapes,)
    return torch.export.export(network, images, dynamic_shapes=shapes)


def captured_single(network: nn.Module, examples: Mapping[str, np.ndarray]) -> torch.export.ExportedProgram:
    """The exported program of exactly one image."""
    images = tuple(torch.from_numpy(np.ascontiguousarray(values[:1])) for values in examples.values())
    return torch.export.export(network, images)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Compilers warn about their own insides; what counts is checked on the file."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
