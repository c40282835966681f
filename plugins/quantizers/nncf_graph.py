"""What NNCF makes of an ONNX graph, and how far the answers of a graph are from those of its float source.

Samples come a few at a time; kept are embeddings, and a few samples. Decides nothing about which layers stay float.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgefw.contracts.quantizer import Calibration
from edgefw.errors import ExportError
from edgefw.plugins.quantizers.calibration_stream import rechunked
from edgefw.runtime.import_without import import_without
from edgefw.runtime.integer_products import exact_session

_CHUNK = 4


def silent_nncf() -> Any:
    """The package nncf, imported where its telemetry cannot be: it would send usage statistics without asking."""
    return import_without("nncf")


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How NNCF rounds: activations with a zero point or around 0, biases corrected, as a transformer, but not these nodes."""

    affine: bool
    correct_biases: bool
    transformer: bool
    excluded: list[str]


def rounded_graph(model: onnx.ModelProto, calibration: Calibration, rounding: Rounding) -> onnx.ModelProto:
    """The graph with QuantizeLinear and DequantizeLinear pairs and int8 weights; `model` is left as it is.

    Raises:
        ExportError: if there is no sample, or no layer becomes int8.
    """
    if calibration.samples < 1:
        raise ExportError("int8-nncf: there is no calibration sample. Give training data, or export.calibration.")
    nncf = silent_nncf()
    advanced = nncf.AdvancedQuantizationParameters(disable_bias_correction=not rounding.correct_biases)
    preset = nncf.QuantizationPreset.MIXED if rounding.affine else nncf.QuantizationPreset.PERFORMANCE
    made: onnx.ModelProto = nncf.quantize(
        model,
        nncf.Dataset(_Rows(calibration)),
        preset=preset,
        subset_size=calibration.samples,
        model_type=nncf.ModelType.TRANSFORMER if rounding.transformer else None,
        ignored_scope=nncf.IgnoredScope(names=rounding.excluded) if rounding.excluded else None,
        advanced_parameters=advanced,
    )
    if not any(node.op_type == "QuantizeLinear" for node in made.graph.node):
        raise ExportError("int8-nncf: NNCF made no layer int8. Remove the quantizer, or some of `exclude`.")
    return made


class _Rows:
    """Calibration samples one at a time; each iteration is a fresh pass."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return rechunked(self._calibration.batches(), 1)


class Judge:
    """Cosines between the embeddings of a graph and those of its float source, on calibration samples.

    Args:
        source: the float graph.
        calibration: a pass over it per graph that is judged on all samples.
        few: how many samples, evenly spaced, `some` looks at; they are held in memory.
    """

    def __init__(self, source: onnx.ModelProto, calibration: Calibration, few: int) -> None:
        self._calibration = calibration
        self._expected = _unit(_embeddings(source, self._chunks()))
        self._rows = np.unique(np.linspace(0, len(self._expected) - 1, few).astype(int))
        chosen = set(self._rows.tolist())
        self._few = [row for place, row in enumerate(rechunked(calibration.batches(), 1)) if place in chosen]

    def all(self, model: onnx.ModelProto) -> float:
        """The mean cosine over all samples."""
        return _mean_cosine(_embeddings(model, self._chunks()), self._expected)

    def some(self, model: onnx.ModelProto) -> float:
        """The mean cosine over the few samples."""
        return _mean_cosine(_embeddings(model, self._few), self._expected[self._rows])

    def _chunks(self) -> Iterator[dict[str, np.ndarray]]:
        return rechunked(self._calibration.batches(), _CHUNK)


def _mean_cosine(found: np.ndarray, expected: np.ndarray) -> float:
    return float((_unit(found) * expected).sum(axis=1).mean())


def _embeddings(model: onnx.ModelProto, chunks: Iterable[dict[str, np.ndarray]]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = exact_session(model.SerializeToString(), options)
    return np.concatenate([session.run(None, chunk)[0] for chunk in chunks])


def _unit(rows: np.ndarray) -> np.ndarray:
    """(B, ...) as (B, D) of length 1."""
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    unit: np.ndarray = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return unit
