"""Writes a module to an ONNX file and runs it, with PyTorch's plainest exporter and one thread."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefw.runtime.integer_products import exact_session

if TYPE_CHECKING:
    from torch import Tensor, nn


def export(module: nn.Module, example: Tensor, file: Path) -> Path:
    """Export (B, ...) -> (B, D) with a dynamic batch; the input is called "image"."""
    import torch

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            str(file),
            dynamo=False,
            input_names=["image"],
            output_names=["embedding"],
            dynamic_axes={"image": {0: "batch"}, "embedding": {0: "batch"}},
        )
    return file


def run(file: Path, images: np.ndarray) -> np.ndarray:
    """What ONNX Runtime makes of (B, ...) float32."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = exact_session(str(file), options)
    result: np.ndarray = session.run(None, {session.get_inputs()[0].name: images})[0]
    return result


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The mean cosine between the rows of two (B, D) arrays."""
    one, other = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (one, other))
    return float((one * other).sum(axis=1).mean())
