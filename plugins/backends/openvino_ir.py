"""From a torch network, or a quantizer's ONNX file, to a checked OpenVINO IR in one file.

Knows torch, ONNX and OpenVINO's converter; how a file is opened and what it runs in, the backend `openvino` says. OpenVINO
reads ONNX itself: nothing here needs its conversion package.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.backend import Artefact, CompileRequest
from edgefw.errors import BundleError, ExportError
from edgefw.plugins.backends.one_file import join_files
from edgefw.plugins.backends.onnx_export import (
    MIN_COSINE,
    Difference,
    ExportPlan,
    allowed,
    checked,
    compare,
    compile_onnx,
    first_line,
    reference,
)
from edgefw.plugins.backends.onnxruntime import OnnxRunner, open_session
from edgefw.plugins.backends.openvino_core import shared_core
from edgefw.runtime.integer_products import products_are_exact

if TYPE_CHECKING:
    from edgefw.plugins.backends.openvino import OpenVinoBackend, OpenVinoConfig, OpenVinoRunner

FLOAT = 1e-3
"""Largest relative error of an exporter's file in f32."""
LIMITS = {
    "f32": Difference(cosine=MIN_COSINE, relative=FLOAT),
    "f16": Difference(cosine=MIN_COSINE, relative=0.01),
    "bf16": Difference(cosine=0.998, relative=0.05),
}
"""What rounding to a type's mantissa (23, 10 and 7 bits) may do to an embedding, through some hundred layers."""
SAME_FILE = 0.9
"""Least cosine between two runtimes on one int8 file: rounding differs between them, a lost layer is far below."""
INT8 = ("i8", "u8")
SEVEN_BITS = 64
"""Largest whole number of a weight whose products 16 bits hold: 2 x 255 x 64 is below 32,768."""
CLEAN = 0.999
"""Cosine to ONNX Runtime's exact answers from which on nothing is said of products that this processor cuts."""


def cut_products(cosine: float, exact: bool) -> tuple[str, ...]:
    """What to say of an int8 file whose products this processor adds in 16 bits (docs/techniques/quantizers.md, Processors).

    Args:
        cosine: of OpenVINO's embeddings to ONNX Runtime's exact ones of the same file.
        exact: whether this processor loses nothing of such sums.
    """
    if exact or cosine >= CLEAN:
        return ()
    said = (
        f"OpenVINO cuts int8 products on this processor, which has no VNNI (cosine to the exact answers {cosine:.4f}). "
    )
    return (
        f"{said}Set reduce_range: true of the quantizer (int8-static, int8-qat) if the camera's is such a processor",
    )


def _exact(source: Path) -> bool:
    """Whether this processor loses nothing of a file's int8 products: it never does, or the weights have 7 bits."""
    if products_are_exact():
        return True
    import onnx
    from onnx import numpy_helper

    stored = [one for one in onnx.load(str(source)).graph.initializer if one.data_type == onnx.TensorProto.INT8]
    return all(np.abs(numpy_helper.to_array(one).astype(np.int16)).max(initial=0) <= SEVEN_BITS for one in stored)


class IrWriter:
    """Writes IR files and compares each with what it was made from."""

    def __init__(self, config: OpenVinoConfig, backend: OpenVinoBackend) -> None:
        self._config, self._backend = config, backend

    def from_network(self, request: CompileRequest) -> Artefact:
        """The IR of a network, by the first exporter whose file OpenVINO runs as the network does.

        Raises:
            ExportError: if there is none, or the IR in its precision is too far off.
        """
        config = self._config
        tolerance = config.tolerance if config.tolerance and config.precision == "f32" else FLOAT
        plan = ExportPlan(opset=config.opset, exporter=config.exporter, tolerance=tolerance)
        with tempfile.TemporaryDirectory(dir=request.folder) as folder:
            draft = Path(folder) / "float.onnx"
            inner = replace(request, folder=Path(folder))
            exported = compile_onnx(inner, draft, plan, True, self._backend.open_float, "openvino")
            runner, file = self._written(draft, request.folder)
            checks = self._checked(runner, file, request)
            onnx = Path(shutil.move(draft, request.folder / draft.name)) if request.keep_onnx else None
        details = {**exported.details, "check": checks, **self._facts(runner)}
        return Artefact(file=file, level="compiled", details=details, warnings=exported.warnings, onnx=onnx)

    def from_onnx(self, source: Path, request: CompileRequest) -> Artefact:
        """The IR of a quantizer's file.

        Raises:
            ExportError: if OpenVINO cannot read it, or gives other embeddings than ONNX Runtime.
        """
        expected = OnnxRunner(open_session(source, None)).run(request.examples)
        runner, file = self._written(source, request.folder)
        found = compare(expected, runner.run(request.examples))
        if not found.cosine >= SAME_FILE:
            file.unlink()
            why = f" {'. '.join(said)}." if (said := cut_products(found.cosine, _exact(source))) else ""
            raise ExportError(
                f"backend 'openvino': its embeddings of the quantised file are not those of ONNX Runtime (cosine "
                f"{found.cosine:.4f}, least {SAME_FILE}).{why} Or use the backend onnxruntime with this quantizer."
            )
        details: dict[str, Any] = {
            "onnxruntime": {"cosine": found.cosine, "relative_error": found.relative},
            **self._facts(runner),
        }
        if any(details["layers"].get(kind) for kind in INT8):
            warnings = cut_products(found.cosine, _exact(source))
        else:
            warnings = ("OpenVINO runs no layer in int8",)
        return Artefact(file=file, level="compiled", details=details, warnings=warnings)

    def _written(self, source: Path, folder: Path) -> tuple[OpenVinoRunner, Path]:
        """An ONNX file as IR, opened."""
        core = shared_core()
        from openvino import save_model

        from edgefw.plugins.backends.openvino import FILE, PARTS

        with tempfile.TemporaryDirectory(dir=folder) as place:
            graph = Path(place) / PARTS[0]
            try:
                model = core.read_model(str(source))
                save_model(model, str(graph), compress_to_fp16=self._config.weights == "f16")
            except Exception as error:  # whatever the converter raises
                raise ExportError(
                    f"backend 'openvino': the ONNX file cannot be converted ({first_line(error)})."
                ) from error
            file = join_files(folder / FILE, {name: graph.with_name(name) for name in PARTS})
        try:
            return self._backend.open(file), file
        except BundleError as error:
            raise ExportError(f"backend 'openvino': {error}") from error

    def _checked(self, runner: OpenVinoRunner, file: Path, request: CompileRequest) -> dict[str, dict[str, float]]:
        expected, limit = reference(request.network, request.examples), self._limit()
        if request.quantised:
            rounded = allowed(request.network, request, expected, limit.relative)
            limit = Difference(cosine=min(limit.cosine, rounded.cosine), relative=max(limit.relative, rounded.relative))
        try:
            return checked(runner, request.examples, expected, limit)
        except ExportError as error:
            file.unlink()
            raise ExportError(
                f"backend 'openvino', precision {self._config.precision}: {error} Use precision: f32, or a larger tolerance."
            ) from error

    def _limit(self) -> Difference:
        config = self._config
        limit = LIMITS["f16" if config.weights == "f16" and config.precision == "f32" else config.precision]
        if config.tolerance is None:
            return limit
        return Difference(cosine=min(limit.cosine, 1 - config.tolerance**2), relative=config.tolerance)

    def _facts(self, runner: OpenVinoRunner) -> dict[str, Any]:
        import openvino

        return {
            "layers": runner.layers(),
            "openvino": openvino.__version__.split("-")[0],
            "weights": self._config.weights,
        }
