"""From a torch network, or a quantizer's ONNX file, to ONNX that TensorRT reads, and to a plan where one can be built.

Knows torch and ONNX; how plans are built and run, `tensorrt_plan` and `tensorrt_run` say.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgefw.contracts.backend import Artefact, CompileRequest, Runner
from edgefw.errors import BundleError, ExportError
from edgefw.plugins.backends.half_precision import half
from edgefw.plugins.backends.onnx_constants import constants
from edgefw.plugins.backends.onnx_export import (
    MIN_COSINE,
    Difference,
    ExportPlan,
    checked,
    compile_onnx,
    reference,
)
from edgefw.plugins.backends.onnxruntime import OnnxRunner, open_session
from edgefw.plugins.backends.tensorrt import ONNX, PLAN, SCRIPT
from edgefw.plugins.backends.tensorrt_plan import absent, build_plan, trtexec_line

if TYPE_CHECKING:
    from edgefw.plugins.backends.tensorrt import TensorRtConfig

LINE = "trtexec"
"""Key of the command in the file's own metadata, so that it travels with the file."""
FLOAT = 1e-3
"""Of the ONNX file on the way, unless the option allows more."""
SAME_FILE = Difference(cosine=0.999, relative=0.05)
"""What taking the rounding of biases away may do to an int8 file."""
ONNX_DOMAINS = ("", "ai.onnx")
_UNREADABLE = ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul")


@dataclass(frozen=True)
class PlanWriter:
    """Writes artefacts and compares each with what it was made from."""

    config: TensorRtConfig
    runner: Callable[[Path], Runner]

    def from_network(self, request: CompileRequest) -> Artefact:
        """The plan, or the ONNX file, of a network.

        Raises:
            ExportError: if no exporter gives a correct file, or the plan is not the network.
        """
        config = self.config
        plan = ExportPlan(opset=config.opset, exporter=config.exporter, tolerance=max(FLOAT, config.tolerance or 0))
        with tempfile.TemporaryDirectory(dir=request.folder) as folder:
            draft = Path(folder) / "float.onnx"
            inner = replace(request, folder=Path(folder))
            exported = compile_onnx(inner, draft, plan, True, _in_onnxruntime, "tensorrt")
            model = onnx.load(draft)
            if config.precision == "fp16":
                model = half(model, "backend 'tensorrt'", "Use precision fp32.")
            file, facts = self._written(model, request, reference(request.network, request.examples), self._limit())
            source = Path(shutil.move(draft, request.folder / draft.name)) if request.keep_onnx else None
        details = {**exported.details, **facts}
        return Artefact(file=file, level="compiled", details=details, warnings=exported.warnings, onnx=source)

    def from_onnx(self, source: Path, request: CompileRequest) -> Artefact:
        """The plan, or the ONNX file, of a quantizer's file.

        Raises:
            ExportError: if TensorRT has no such layers, or the file is not what `source` says.
        """
        model = onnx.load(source)
        refuse_unreadable(model)
        biases = float_biases(model)
        expected = _in_onnxruntime(source).run(request.examples)
        file, facts = self._written(model, request, expected, SAME_FILE)
        return Artefact(file=file, level="compiled", details={**facts, "float_biases": biases})

    def _limit(self) -> Difference:
        limit = self.config.limit
        return Difference(cosine=min(MIN_COSINE, 1 - limit**2), relative=limit)

    def _written(
        self, model: onnx.ModelProto, request: CompileRequest, expected: np.ndarray, limit: Difference
    ) -> tuple[Path, dict[str, Any]]:
        """The file and what is known of it; `limit` is the largest difference from `expected`."""
        config, file, script = self.config, request.folder / ONNX, request.folder / SCRIPT
        line = trtexec_line(request.inputs, config.profile(), ONNX, PLAN)
        onnx.helper.set_model_props(model, {LINE: line})
        onnx.save(model, file)
        facts: dict[str, Any] = {
            "trtexec": line,
            "onnxruntime": self._agreed(_in_onnxruntime, file, request, expected, limit),
        }
        if absent():
            script.write_text(_script(line), encoding="utf-8")
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
            return file, {**facts, "plan": None}
        import tensorrt

        plan = request.folder / PLAN
        plan.write_bytes(build_plan(file, config.profile()))
        file.unlink()
        checks = self._agreed(self.runner, plan, request, expected, limit)
        return plan, {**facts, "check": checks, "tensorrt": tensorrt.__version__}

    def _agreed(
        self,
        runner: Callable[[Path], Runner],
        file: Path,
        request: CompileRequest,
        expected: np.ndarray,
        limit: Difference,
    ) -> dict[str, dict[str, float]]:
        try:
            return checked(runner(file), request.examples, expected, limit)
        except (ExportError, BundleError) as error:
            file.unlink()
            raise ExportError(f"backend 'tensorrt', precision {self.config.precision}: {error}") from error


def _in_onnxruntime(file: Path) -> OnnxRunner:
    return OnnxRunner(open_session(file, None))


def refuse_unreadable(model: onnx.ModelProto) -> None:
    """Refuse layers that TensorRT does not read: it takes ONNX's own operators, and QuantizeLinear to int8 without a zero point.

    Raises:
        ExportError: naming them, with what to do.
    """
    known = [node.domain in ONNX_DOMAINS and node.op_type not in _UNREADABLE for node in model.graph.node]
    if foreign := sorted({node.op_type for node, is_known in zip(model.graph.node, known) if not is_known}):
        raise ExportError(f"backend 'tensorrt': TensorRT has no {', '.join(foreign)}. Use the quantizer int8-static.")
    numbers = constants(model)
    uneven = [node.name for node in _rounding(model) if not _is_even(node, numbers)]
    if uneven:
        raise ExportError(
            f"backend 'tensorrt': {len(uneven)} layers round to uint8 or have a zero point (the first: {uneven[0]}); TensorRT "
            "takes int8 around 0. Give the quantizer `activation: int8`."
        )


def float_biases(model: onnx.ModelProto) -> int:
    """Turn biases that are stored in int32 back into float, which is all that TensorRT takes; how many there were."""
    numbers, changed = constants(model), 0
    for node in list(model.graph.node):
        values = numbers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if values is not None and values.dtype == np.int32:
            floats = (values * numbers[node.input[1]]).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(floats, node.output[0]))
            model.graph.node.remove(node)
            changed += 1
    read = {name for node in model.graph.node for name in node.input}
    for entry in [own for own in model.graph.initializer if own.name not in read]:
        model.graph.initializer.remove(entry)
    return changed


def _rounding(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from (node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear"))


def _is_even(node: onnx.NodeProto, numbers: Mapping[str, np.ndarray]) -> bool:
    """Whether a layer rounds to signed numbers around 0."""
    zero = numbers.get(node.input[2]) if len(node.input) > 2 else None
    return zero is not None and zero.dtype in (np.int8, np.int32) and not zero.any()


def _script(line: str) -> str:
    return (
        "#!/bin/sh\n"
        "# Builds the plan, on the machine that will run it, with TensorRT 10 or newer. The graph holds its types.\n"
        f'cd "$(dirname "$0")" && {line}\n'
    )
