"""ONNX Runtime's own file format, for builds of it that hold few operators.

`model.ort` is what ONNX Runtime makes of an ONNX file once its optimisations are done, those for one processor left out. A
minimal build reads nothing else, and holds only the operators in `required_operators.config`, which lies beside the
file and is given to the build as `--include_ops_by_config`. The same lines stand in the file's own metadata, so that they travel with it
into a bundle, and so does the share of its work that is int8, counted where the graph can still be read. The usual package reads it as well, so it is checked and verified here.
Its layers cannot be looked into. The converter is onnxruntime's own, and needs the package onnx.

Source: ONNX Runtime, "ORT model format" and "Custom build".
"""

from __future__ import annotations

import contextlib
import io
import logging
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.backend import Artefact, CompileRequest
from edgefw.contracts.operators import rounds_activations
from edgefw.errors import ExportError
from edgefw.runtime.integer_products import products_are_exact

if TYPE_CHECKING:
    from edgefw.plugins.backends.onnxruntime import OnnxRunner, OnnxRuntimeBackend

FILE, OPERATORS = "model.ort", "required_operators.config"
SHARE = "edgefw.int8_share"
"""Key of the file's metadata; that of its operators is `OPERATORS`."""
_INTEGER = {
    "QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
}  # fmt: skip
_ADVICE = "This processor cuts sums of int8 in such files: set reduce_range: true for the quantizer. "
_X86 = platform.machine().lower() in ("x86_64", "amd64")
"""No kernels of half precision: the converter casts around every layer."""
_UNPACKED, _SMALL = 1.5, 1 << 16
"""A file that grows so much holds its weights in another type; of small files the graph decides."""
SAME_FILE = 0.9999
"""Least cosine between an ONNX file and its ORT-format file."""


class OrtFormatBackend:
    """Compiles as `inner` does, and writes the outcome in ORT format.

    Args:
        inner: the backend that writes ONNX.
    """

    name = "onnxruntime"
    accepts = frozenset({"module", "onnx"})

    def __init__(self, inner: OnnxRuntimeBackend) -> None:
        self._inner = inner
        self.slow_when_rounded = inner.slow_when_rounded

    def check_quantizer(self, quantizer: Any) -> None:
        """Refuse what comes out of the converter as float, or is cut by this processor, before anything is trained.

        Raises:
            ExportError: with what to set.
        """
        name = quantizer.precision
        if name == "fp16" and (_X86 or getattr(quantizer, "computes", "fp32") == "fp32"):
            raise ExportError(
                f"backend 'onnxruntime', format ort: its converter stores the numbers of '{name}' in float again, so nothing is gained. "
                "Use format: onnx, or remove the quantizer."
            )
        narrow = getattr(quantizer, "narrow", None)
        if rounds_activations(quantizer) and not narrow and not products_are_exact():
            advice = "Use format: onnx." if narrow is None else "Set reduce_range: true for it, or use format: onnx."
            raise ExportError(
                f"backend 'onnxruntime', format ort: this processor cuts sums of int8 in such files, so that of '{name}' would give "
                f"other embeddings here. {advice}"
            )

    def compile(self, request: CompileRequest) -> Artefact:
        """Export and check as ONNX, convert, and compare."""
        with tempfile.TemporaryDirectory(dir=request.folder) as folder:
            exported = self._inner.compile(replace(request, folder=Path(folder)))
            made = self.compile_onnx(exported.file, request)
            onnx = exported.file.rename(request.folder / "float.onnx") if request.keep_onnx else None
        details = {**exported.details, **made.details}
        return replace(made, details=details, warnings=exported.warnings, onnx=onnx)

    def compile_onnx(self, source: Path, request: CompileRequest) -> Artefact:
        """An ONNX file in ORT format, compared with what it was made from.

        Raises:
            ExportError: if it cannot be converted, or gives other embeddings.
        """
        file = request.folder / FILE
        operators = _converted(source, file)
        with tempfile.TemporaryDirectory(dir=request.folder) as folder:
            _converted(_noted(source, Path(folder) / source.name, operators), file)
        before, after = source.stat().st_size, file.stat().st_size
        if after > _UNPACKED * max(before, _SMALL):
            file.unlink()
            raise ExportError(
                f"backend 'onnxruntime', format ort: its converter stores the file's numbers in float again ({before} to {after} "
                "bytes), so nothing is gained. Use format: onnx."
            )
        least = _least_cosine(self.open(file), self._inner.open(source), request.examples)
        if not least >= SAME_FILE:
            file.unlink()
            raise ExportError(
                f"backend 'onnxruntime', format ort: other embeddings than the ONNX file (cosine {least:.4f}, least "
                f"{SAME_FILE}). {_ADVICE if not products_are_exact() else ''}Use format: onnx."
            )
        return Artefact(file=file, level="compiled", details={"format": "ort", "cosine": least, "operators": operators})

    def open(self, file: Path, threads: int | None = None) -> OnnxRunner:
        """A session on the CPU."""
        return self._inner.open(file, threads)

    def int8_share(self, file: Path) -> float | None:
        """Fraction of the multiply-accumulates in int8, as it was counted when the file was made."""
        from edgefw.plugins.backends.onnxruntime import open_session

        share = open_session(file, 1).get_modelmeta().custom_metadata_map.get(SHARE)
        return float(share) if share else None


def _noted(source: Path, target: Path, operators: Sequence[str]) -> Path:
    """Write `target`: the ONNX file with what its ORT-format file should say of itself."""
    import onnx

    from edgefw.plugins.backends.onnx_work import int8_share

    model = onnx.load(source)
    share = int8_share(source) if _multiplies_integers(operators) else 0.0
    noted = {entry.key: entry.value for entry in model.metadata_props} | {OPERATORS: "\n".join(operators)}
    onnx.helper.set_model_props(model, noted if share is None else noted | {SHARE: repr(share)})
    onnx.save(model, target)
    return target


def _multiplies_integers(operators: Sequence[str]) -> bool:
    """Whether one of the operators left ("ai.onnx;18;Conv,Gemm") has products in int8."""
    return any(name in _INTEGER for line in operators for name in line.split(";")[2].split(","))


def _converted(source: Path, target: Path) -> list[str]:
    """Write `target`, and the list of operators beside it; its lines: "ai.onnx;18;Conv,Gemm".

    Raises:
        ExportError: if onnxruntime's converter fails.
    """
    from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

    logging.getLogger("ort_format_model.utils").disabled = True  # names every file that it writes
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                convert_onnx_models_to_ort(source, Path(folder), optimization_styles=[OptimizationStyle.Fixed])
            (made,) = Path(folder).glob("*.ort")
            (listed,) = Path(folder).glob("*.config")
        except Exception as error:  # whatever the converter raises
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ExportError(f"backend 'onnxruntime', format ort: the file cannot be converted ({reason}).") from error
        made.rename(target)
        listed.rename(target.with_name(OPERATORS))
    lines = target.with_name(OPERATORS).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _least_cosine(own: OnnxRunner, other: OnnxRunner, examples: Mapping[str, np.ndarray]) -> float:
    """The smallest cosine between two files' embeddings, alone and in a batch."""
    found: list[Any] = []
    for batch in (1, len(next(iter(examples.values())))):
        feeds = {name: values[:batch] for name, values in examples.items()}
        one, two = own.run(feeds).astype(np.float64), other.run(feeds).astype(np.float64)
        found.append((one * two).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)))
    return float(np.concatenate(found).min())
