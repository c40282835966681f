"""Ranges of a graph's activations from calibration samples, in memory that does not grow with their number.

onnxruntime's calibrators keep what every sample gave until a collection ends (onnxruntime#10503: 256 GB). Fed chunk by chunk they
forget it, but then a histogram takes the width of its bins from the first chunk: other bins, other thresholds, and any number of
bins after a dark first image. So two passes are made here. The first merges minimum and maximum, chunk by chunk. The second counts
into bins that span them, as many tensors and samples at a time as fit into `HELD` bytes. The histogram is then the one that onnxruntime makes of
all samples kept whole, whatever the size and order of the chunks, and onnxruntime decides the threshold.

Source: Migacz 2017, 8-bit inference with TensorRT (least divergence). It writes no file and knows no weights.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationMethod, create_calibrator
from onnxruntime.quantization.calibrate import HistogramCollector, TensorsData

from edgefw.contracts.quantizer import Calibration
from edgefw.plugins.quantizers.calibration_stream import CalibrationStream, rechunked

HELD = 64 << 20
"""Bytes of activations that the second pass looks at together."""

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
BINS = {"percentile": 2048, "entropy": 512}
"""Bins of a histogram. onnxruntime's 128 for `entropy` leave one candidate, the whole range, where all samples are counted together."""


@dataclass(frozen=True, kw_only=True)
class RangeOptions:
    """How ranges follow from samples.

    Attributes:
        method: minimum and maximum, a percentile, or the range of least Kullback-Leibler divergence.
        percentile: share of the values that method `percentile` keeps, in percent.
        chunk: samples that run together, at most.
    """

    method: Literal["minmax", "percentile", "entropy"]
    percentile: float
    chunk: int


def activation_ranges(
    file: Path, operators: Sequence[str], calibration: Calibration, options: RangeOptions
) -> TensorsData:
    """The range of every float tensor that nodes of these operators read or write.

    Args:
        file: a float ONNX file with inferred shapes.
        operators: ONNX operator names.
        calibration: read once for `minmax`, else once more, or once for every group of tensors that fits into `HELD`.
        options: see there.

    Raises:
        ExportError: if there is no sample, or fewer than promised.
    """
    extremes = _extremes(file, operators, calibration, options.chunk)
    if options.method == "minmax":
        return extremes
    histograms: dict[str, tuple[Any, ...]] = {}
    sizes = _sample_bytes(file, list(extremes), next(rechunked(calibration.batches(), 1)))
    for tensors, chunk in _groups(sizes, options.chunk):
        session = _showing(file, tensors)
        bounds = {name: extremes[name].range_value for name in tensors}
        histograms |= _histograms(session, bounds, CalibrationStream(calibration, chunk), BINS[options.method])
    collector = HistogramCollector(options.method, False, BINS[options.method], 128, options.percentile, "same")
    collector.histogram_dict = histograms
    return TensorsData(METHODS[options.method], collector.compute_collection_result())


def _extremes(file: Path, operators: Sequence[str], calibration: Calibration, chunk: int) -> TensorsData:
    stream = CalibrationStream(calibration, chunk)
    with tempfile.TemporaryDirectory() as folder:
        reduced = str(Path(folder) / "reduced.onnx")
        calibrator = create_calibrator(file, operators, reduced)
        calibrator.infer_session = _session(reduced)
        for start in range(len(stream)):
            stream.set_range(start, start + 1)
            calibrator.collect_data(stream)
        return calibrator.compute_data()


def _groups(sizes: Mapping[str, int], chunk: int) -> Iterator[tuple[list[str], int]]:
    """Tensors that are looked at together, and how many samples at a time, so that both fit into `HELD`."""
    group: list[str] = []
    for name in sizes:
        if group and sum(sizes[other] for other in group) + sizes[name] > HELD:
            yield group, _chunk(sizes, group, chunk)
            group = []
        group.append(name)
    if group:
        yield group, _chunk(sizes, group, chunk)


def _chunk(sizes: Mapping[str, int], group: Sequence[str], chunk: int) -> int:
    return max(1, min(chunk, HELD // max(1, sum(sizes[name] for name in group))))


def _sample_bytes(file: Path, tensors: Sequence[str], sample: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Bytes of float32 tensors for one sample, as the graph itself says: not every shape can be inferred."""
    model = onnx.load(file)
    del model.graph.output[:]
    for index, name in enumerate(tensors):
        model.graph.node.append(onnx.helper.make_node("Shape", [name], [f"shape_{index}"]))
        model.graph.output.append(onnx.helper.make_tensor_value_info(f"shape_{index}", onnx.TensorProto.INT64, None))
    shapes = _session(model.SerializeToString()).run(None, dict(sample))
    return {name: 4 * int(np.prod(shape)) for name, shape in zip(tensors, shapes)}


def _showing(file: Path, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    """The graph with these tensors as its outputs."""
    model = onnx.load(file)
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    del model.graph.output[:]
    model.graph.output.extend(known[name] for name in tensors)
    return _session(model.SerializeToString())


def _session(model: str | bytes) -> onnxruntime.InferenceSession:
    """Unoptimised, as onnxruntime's calibrators run it, but in an order in which a tensor's range is taken before it is kept for long.

    In the default order each minimum and maximum is computed at the end, and every tensor of the graph is alive until then.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _histograms(
    session: onnxruntime.InferenceSession,
    bounds: Mapping[str, tuple[np.ndarray, np.ndarray]],
    stream: CalibrationStream,
    bins: int,
) -> dict[str, tuple[Any, ...]]:
    """Tensor name to what onnxruntime's collector keeps: counts, edges, minimum, maximum, threshold."""
    limits: dict[str, Any] = {
        name: np.float32(max(abs(low.min()), abs(high.max()))) for name, (low, high) in bounds.items()
    }
    counts: dict[str, Any] = dict.fromkeys(bounds, 0)
    edges: dict[str, np.ndarray] = {}
    stream.set_range(0, len(stream))
    while (feeds := stream.get_next()) is not None:
        for name, values in zip(bounds, session.run(list(bounds), feeds)):
            found, edges[name] = np.histogram(values, bins, range=(-limits[name], limits[name]))
            counts[name] = counts[name] + found
    return {
        name: (counts[name], edges[name], np.float32(low.min()), np.float32(high.max()), limits[name])
        for name, (low, high) in bounds.items()
    }
