"""Writes a module to an ONNX file and runs it, with PyTorch's plainest exporter and one thread."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
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


class OpenFile:
    """An ONNX file in ONNX Runtime, as a `Runner`."""

    def __init__(self, file: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = exact_session(str(file), options)
        self.inputs: Sequence[str] = tuple(entry.name for entry in self._session.get_inputs())

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """(B, D) of {input name: (B, ...)}."""
        result: np.ndarray = self._session.run(None, feeds)[0]
        return result


def run(file: Path, images: np.ndarray) -> np.ndarray:
    """What ONNX Runtime makes of (B, ...) float32."""
    opened = OpenFile(file)
    return opened.run({opened.inputs[0]: images})


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The mean cosine between the rows of two (B, D) arrays."""
    one, other = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (one, other))
    return float((one * other).sum(axis=1).mean())
