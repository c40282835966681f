"""The files of one student that the int8 table compares: float, ONNX Runtime's defaults, ours, and OpenVINO's where it is installed.

Every int8 file is calibrated on the same photographs. The file of the defaults is opened in a plain session, as whoever takes the defaults does; the
float file and ours as edgefw opens them: on a processor without VNNI a plain session is the faster one and cuts sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from edgefw.contracts.backend import CompileRequest, Runner
from edgefw.contracts.quantizer import Calibration
from edgefw.plugins.backends.onnx_work import int8_share
from edgefw.plugins.backends.onnxruntime import OnnxRunner, OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.plugins.quantizers.int8_latency_aware import Int8LatencyAware, LatencyAwareConfig
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.plugins.quantizers.onnx_graph import preprocessed, quiet
from edgefw.runtime.integer_products import products_are_exact

FLOAT, DEFAULT, OURS = "fp32", "quantize_static", "int8-latency-aware"
OPENVINO_FLOAT, OPENVINO, NARROW = "openvino fp32", "openvino int8-static", "openvino int8-static, reduce_range"
SOURCES = {FLOAT: FLOAT, DEFAULT: FLOAT, OURS: FLOAT} | dict.fromkeys(
    (OPENVINO_FLOAT, OPENVINO, NARROW), OPENVINO_FLOAT
)
"""What a file is compared with: the float file in the same runtime."""
_BATCH = 4
_INT8 = ("i8", "u8")


@dataclass(frozen=True, kw_only=True)
class File:
    """One opened file.

    Attributes:
        path: on disk.
        runner: in its runtime.
        share: fraction of its multiply-accumulates that run in int8; None where the runtime does not tell.
        layers: how many layers run in which type, where the runtime tells that.
        exact: a session with exact products on the same file, where `runner` is none.
        search: what the search for a faster file said.
        stays_float: nothing was worth quantising, and this is the float file.
    """

    path: Path
    runner: Runner
    share: float | None
    layers: Mapping[str, int] | None = None
    exact: Runner | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    stays_float: bool = False

    @property
    def called(self) -> str:
        """Its precision: a file in which nothing runs in int8 is called fp32."""
        some = self.share if self.layers is None else sum(self.layers.get(kind, 0) for kind in _INT8)
        return "fp32" if self.stays_float or some == 0 else "int8"


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Makes the files of one student in an empty folder.

    Attributes:
        source: the float ONNX file.
        folder: for files.
        rows: (N, 3, H, W) float32, to calibrate on.
        threads: of every runtime.
        seconds: for the search of `int8-latency-aware`.
    """

    source: Path
    folder: Path
    rows: np.ndarray
    threads: int
    seconds: float

    def files(self) -> tuple[dict[str, File], dict[str, str]]:
        """The files, and why others could not be made."""
        made: dict[str, File] = {FLOAT: File(path=self.source, runner=self._open(self.source), share=0.0)}
        missing: dict[str, str] = {}
        for name, make in self._ways().items():
            try:
                made[name] = make()
            except Exception as error:  # noqa: BLE001 - quantizers and converters raise whatever they meet
                missing[name] = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
                print(f"without {name}: {missing[name]}", flush=True)
        return made, missing

    def _ways(self) -> dict[str, Callable[[], File]]:
        ways: dict[str, Callable[[], File]] = {DEFAULT: self._default, OURS: self._ours}
        if find_spec("openvino"):
            ways |= {OPENVINO_FLOAT: self._openvino_float, OPENVINO: self._openvino}
            ways |= {} if products_are_exact() else {NARROW: self._openvino_narrow}
        return ways

    def _default(self) -> File:
        clean, target = self.folder / "clean.onnx", self.folder / "default.onnx"
        preprocessed(self.source, clean)
        with quiet():
            quantize_static(str(clean), str(target), _Reader(self._input, self.rows))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = self.threads, 3
        session = onnxruntime.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])
        return File(path=target, runner=OnnxRunner(session), share=int8_share(target), exact=self._open(target))

    def _ours(self) -> File:
        target, config = self.folder / "ours.onnx", LatencyAwareConfig(seconds=self.seconds)
        quantizer = Int8LatencyAware(config, OURS, lambda text: print(text, flush=True))
        report = quantizer.quantize_timed(self.source, target, self._calibration, self._open)
        keys = ("choices", "whole_file", "search_seconds", "comparisons")
        search = {key: report.details[key] for key in keys} | {"said": list(report.warnings)}
        path = self.source if report.stays_float else target
        share = 0.0 if report.stays_float else int8_share(target)
        return File(path=path, runner=self._open(path), share=share, search=search, stays_float=report.stays_float)

    def _openvino_float(self) -> File:
        return self._compiled(self.source, "openvino-fp32")

    def _openvino(self) -> File:
        return self._rounded(StaticConfig(), "openvino-int8")

    def _openvino_narrow(self) -> File:
        """With 7-bit weights, whose products OpenVINO does not cut on a processor without VNNI."""
        return self._rounded(StaticConfig(reduce_range=True), "openvino-narrow")

    def _rounded(self, config: StaticConfig, name: str) -> File:
        rounded = self.folder / f"{name}.onnx"
        Int8Static(config, OPENVINO).quantize(self.source, rounded, self._calibration)
        return self._compiled(rounded, name)

    def _compiled(self, source: Path, name: str) -> File:
        """An ONNX file in OpenVINO, which says of layers, not of products, what they run in."""
        from torch import nn

        from edgefw.plugins.backends.openvino import OpenVinoBackend, OpenVinoConfig

        folder = self.folder / name
        folder.mkdir()
        height, width = self.rows.shape[2:]
        request = CompileRequest(
            network=nn.Identity(),
            inputs={self._input: (3, height, width)},
            folder=folder,
            examples={self._input: self.rows[:_BATCH]},
        )
        backend = OpenVinoBackend(OpenVinoConfig(threads=self.threads))
        runner = backend.open(backend.compile_onnx(source, request).file, self.threads)
        return File(path=folder / "model.ir.zip", runner=runner, share=None, layers=runner.layers())

    @property
    def _input(self) -> str:
        (name,) = self._open(self.source).inputs
        return name

    @property
    def _calibration(self) -> Calibration:
        name = self._input
        chunks = [{name: self.rows[at : at + _BATCH]} for at in range(0, len(self.rows), _BATCH)]
        return Calibration(batches=lambda: iter(chunks), samples=len(self.rows))

    def _open(self, file: Path) -> OnnxRunner:
        return OnnxRuntimeBackend(OnnxRuntimeConfig(threads=self.threads)).open(file)


class _Reader(CalibrationDataReader):
    """Calibration rows as onnxruntime's examples give them: one after the other."""

    def __init__(self, name: str, rows: np.ndarray) -> None:
        self._rows = iter({name: row[None]} for row in rows)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next row."""
        return next(self._rows, None)
