"""OpenVINO: a network as IR in one file, run on the CPU in f32, bf16 or f16.

`compile` exports ONNX as the backend onnxruntime does, but tries each exporter's file in OpenVINO; it then writes the IR
and checks that as well, in the precision that the recipe asks for. An IR (intermediate
representation) is a graph (.xml) beside its weights (.bin); both lie in one zip, so that an artefact stays one file with one hash, and `unzip` gives OpenVINO's own tools what they
read. Files of quantizers (QuantizeLinear and DequantizeLinear pairs) are converted too; OpenVINO runs those layers in
int8. One image runs through a graph of fixed shape, which is faster than the dynamic one that serves other batches.
`open` needs openvino and numpy only. It does not quantise, and it runs on the CPU only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

import edgefw
from edgefw.contracts.backend import Artefact, CompileRequest
from edgefw.contracts.operators import SILU, SQUEEZE_EXCITE
from edgefw.errors import BundleError, ExportError, MissingDependency
from edgefw.plugins.backends.one_file import read_parts
from edgefw.plugins.backends.openvino_core import reason, shared_core
from edgefw.runtime.in_order import processors

if TYPE_CHECKING:
    from edgefw.contracts.backend import LayerView
    from edgefw.plugins.backends.openvino_ir import IrWriter
    from edgefw.registry.technique import Register

FILE = "model.ir.zip"
_MEASURED = "takes a part of what int8 gains: EfficientNet-B0 in int8 took 1.17 of its float file's time, without SiLU and squeeze-excite 0.92"
SLOW_WHEN_ROUNDED = dict.fromkeys((SILU, SQUEEZE_EXCITE), f"{_MEASURED} (benchmarks/backends)")
PARTS = ("openvino.xml", "openvino.bin")
INSTALL = 'pip install "edgefw[openvino]"'
NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
"""What artefacts are named after, by precision."""

Precision = Literal["f32", "bf16", "f16"]


class OpenVinoConfig(edgefw.TechniqueConfig):
    """Options of the OpenVINO backend."""

    precision: Precision = Field(default="f32", description="what float layers compute in; int8 layers stay int8")
    weights: Literal["f32", "f16"] = Field(
        default="f32", description="how float weights are stored; f16: half the file"
    )
    opset: int = Field(default=18, ge=18, le=20, description="ONNX operator set on the way to the IR")
    exporter: Literal["auto", "dynamo", "legacy"] = Field(
        default="auto", description="torch.export based, TorchScript based, or the second where the first fails"
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads; null: one per core")
    tolerance: float | None = Field(
        default=None, gt=0.0, description="largest relative error on real samples; null: 0.001; f16 0.01; bf16 0.05"
    )


class OpenVinoRunner:
    """One model: a graph of fixed shape for a single image, a dynamic one, made when first asked for, for more.

    Args:
        core: an `openvino.Core`.
        model: a read model with a dynamic batch.
        settings: properties of the compiled graphs.
    """

    def __init__(self, core: Any, model: Any, settings: Mapping[str, Any]) -> None:
        self._core, self._model, self._settings = core, model, dict(settings)
        self.inputs: Sequence[str] = tuple(entry.get_any_name() for entry in model.inputs)
        self._single = self._compiled(_of_one_image(model))
        self._many: Any = None

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embeddings (B, D) float32 of {input name: (B, C, H, W) float32}."""
        rows = {name: np.ascontiguousarray(values, np.float32) for name, values in feeds.items()}
        if len(next(iter(rows.values()))) == 1:
            request = self._single
        else:
            self._many = self._many or self._compiled(self._model)
            request = self._many
        result: np.ndarray = request.infer(rows, share_inputs=True)[0]
        return result

    def beside(self) -> OpenVinoRunner:
        """Another runner on the same graph of one image, which may run at the same time."""
        other = copy(self)
        other._single = self._single.get_compiled_model().create_infer_request()
        other._many = None
        return other

    def layers(self) -> dict[str, int]:
        """How many layers that compute run in which type ("f32", "u8"), for one image."""
        counts: dict[str, int] = {}
        for node in self._single.get_compiled_model().get_runtime_model().get_ordered_ops():
            kind, element = (node.get_rt_info()[key].astype(str) for key in ("layerType", "runtimePrecision"))
            if kind not in ("Const", "Convert", "Input", "Output", "Reorder", "Reshape"):
                counts[element] = counts.get(element, 0) + 1
        return counts

    def _compiled(self, model: Any) -> Any:
        return self._core.compile_model(model, "CPU", self._settings).create_infer_request()


class OpenVinoBackend:
    """Compiles to IR, opens in OpenVINO on the CPU."""

    name = "openvino"
    accepts = frozenset({"module", "onnx"})
    slow_when_rounded = SLOW_WHEN_ROUNDED

    def __init__(self, config: OpenVinoConfig) -> None:
        self._config = config
        self.precision = NAMES[config.precision]

    def check_compile(self) -> None:
        """Refuse a precision that this CPU does not offer.

        Raises:
            ExportError: naming those that it does.
        """
        if why := self._not_offered(_core(Path("openvino"))):
            raise ExportError(f"backend 'openvino': {why}")

    def compile(self, request: CompileRequest) -> Artefact:
        """Export, convert, and check at batch 1 and at the batch of the examples."""
        return self._writer().from_network(request)

    def compile_onnx(self, source: Path, request: CompileRequest) -> Artefact:
        """Convert a quantizer's file, and check it against ONNX Runtime."""
        return self._writer().from_onnx(source, request)

    def open(self, file: Path, threads: int | None = None) -> OpenVinoRunner:
        """A model on the CPU; `threads` goes before the option of the recipe."""
        return self._opened(file, threads)

    def open_many(self, file: Path, most: int, threads: int | None = None) -> list[OpenVinoRunner]:
        """One graph with as many streams as runners; threads are shared out among the streams."""
        total = threads or self._config.threads or processors()
        count = min(most, total)
        first = self._opened(file, total, streams=count)
        return [first, *(first.beside() for _ in range(count - 1))]

    def layers(self, file: Path, feeds: Mapping[str, np.ndarray]) -> LayerView:
        """What each layer of a file is and gives, in the backend's precision.

        Raises:
            BundleError: if the file is missing or damaged, or openvino is not installed.
            ExportError: if it cannot be looked into, or this CPU does not offer the precision.
        """
        from edgefw.plugins.backends.openvino_layers import layer_outputs

        graph, weights = read_parts(file, PARTS)
        core = _core(file)
        if said := self._not_offered(core):
            raise ExportError(f"{file}: its layers cannot be looked at ({said})")
        settings = {"INFERENCE_PRECISION_HINT": self._config.precision, "INFERENCE_NUM_THREADS": 1}
        try:
            model = core.read_model(graph, weights)
        except Exception as error:  # openvino raises RuntimeError and TypeError, over several lines
            raise ExportError(f"{file}: its layers cannot be looked at ({reason(error)})") from error
        return layer_outputs(file, model, lambda part: core.compile_model(part, "CPU", settings), feeds)

    def _opened(self, file: Path, threads: int | None, streams: int | None = None) -> OpenVinoRunner:
        graph, weights = read_parts(file, PARTS)
        core = _core(file)
        if why := self._not_offered(core):
            raise BundleError(f"{file}: {why}")
        return self._runner(core, file, lambda: core.read_model(graph, weights), threads, streams=streams)

    def open_float(self, file: Path) -> OpenVinoRunner:
        """An ONNX file in f32, whatever the option: what an export is checked with.

        Raises:
            ExportError: if OpenVINO cannot read it.
        """
        core = _core(file)
        try:
            return self._runner(core, file, lambda: core.read_model(str(file)), None, "f32")
        except BundleError as error:
            raise ExportError(str(error)) from error

    def _runner(
        self,
        core: Any,
        file: Path,
        read: Callable[[], Any],
        threads: int | None,
        precision: Precision | None = None,
        streams: int | None = None,
    ) -> OpenVinoRunner:
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision or self._config.precision,
        }
        if number := threads or self._config.threads:
            settings["INFERENCE_NUM_THREADS"] = number
        if streams:
            settings["NUM_STREAMS"] = streams
        try:
            return OpenVinoRunner(core, read(), settings)
        except Exception as error:  # openvino raises RuntimeError and TypeError, over several lines
            raise BundleError(f"{file}: OpenVINO cannot load it ({reason(error)}). Is the file complete?") from error

    def _not_offered(self, core: Any) -> str | None:
        """Why the precision cannot be had here; None if it can."""
        wanted = NAMES[self._config.precision].upper()
        offered = set(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")) & {name.upper() for name in NAMES.values()}
        if wanted in offered:
            return None
        return f"precision {self._config.precision}: this CPU computes in {', '.join(sorted(offered))}. Use precision: f32."

    def _writer(self) -> IrWriter:
        try:
            from edgefw.plugins.backends.openvino_ir import IrWriter
        except ImportError as error:
            raise MissingDependency(
                f"backend 'openvino': compiling needs {error.name}. Run: pip install \"edgefw[train]\""
            ) from error
        config: Any = self._config
        backend: Any = self
        return IrWriter(config, backend)


def _of_one_image(model: Any) -> Any:
    single = model.clone()
    single.reshape({entry: [1, *list(entry.get_partial_shape())[1:]] for entry in single.inputs})
    return single


def _core(where: Path) -> Any:
    """The process's `openvino.Core`.

    Raises:
        BundleError: if openvino is not installed.
    """
    try:
        return shared_core()
    except ImportError as error:
        raise BundleError(f"{where}: needs openvino. Run: {INSTALL}") from error


def build(config: OpenVinoConfig, context: edgefw.BuildContext) -> OpenVinoBackend:
    """The backend; nothing is loaded yet."""
    return OpenVinoBackend(config)


@edgefw.hookimpl
def edgefw_register_backends(register: Register) -> None:
    """Offer `openvino`."""
    register(
        edgefw.Technique(
            name="openvino",
            config=OpenVinoConfig,
            build=build,
            provides=frozenset({"module", "onnx"}),
            requires=("openvino",),
            install=INSTALL,
        )
    )
