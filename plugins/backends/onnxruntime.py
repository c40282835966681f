"""ONNX Runtime: one ONNX file with a dynamic batch, checked on real samples.

`compile` fuses what the network offers to fuse, exports it, lets ONNX Runtime fold constants into the file, and then
runs the file beside the torch network at two batch sizes. An exporter whose file disagrees is not used: exporters have
broken models in silence (pytorch/pytorch#169178, #166797). `open` needs onnxruntime and numpy only; one image runs in a session of fixed shape.
It does not quantise: that is what quantizers of level "onnx" do, on the file that is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

import edgefw
from edgefw.contracts.backend import Artefact, CompileRequest
from edgefw.contracts.operators import HARDSWISH, SILU, SQUEEZE_EXCITE
from edgefw.errors import BundleError, MissingDependency
from edgefw.plugins.backends.ort_format import OrtFormatBackend
from edgefw.runtime.denormals import flushed
from edgefw.runtime.in_order import processors
from edgefw.runtime.integer_products import exact_session

if TYPE_CHECKING:
    from edgefw.contracts.backend import LayerView
    from edgefw.registry.technique import Register

FILE, BATCH = "model.onnx", "batch"
"""Names of the file, and in it of the dimension that is not fixed."""
PROVIDES = frozenset({"module", "onnx", "runs-onnx"})
_BETWEEN = "stays in float between int8 layers, with a conversion before and after it"
SLOW_WHEN_ROUNDED = {
    SILU: _BETWEEN,
    HARDSWISH: _BETWEEN,
    SQUEEZE_EXCITE: f"has a product of a whole map that {_BETWEEN}",
}


class OnnxRuntimeConfig(edgefw.TechniqueConfig):
    """Options of the ONNX Runtime backend."""

    opset: int = Field(default=18, ge=18, le=20, description="ONNX operator set of the file")
    exporter: Literal["auto", "dynamo", "legacy"] = Field(
        default="auto", description="torch.export based, TorchScript based, or the second where the first fails"
    )
    optimise: Literal["none", "basic"] = Field(
        default="basic", description="constants folded into the file; what depends on the device is done at load"
    )
    format: Literal["onnx", "ort"] = Field(
        default="onnx", description="onnx: portable; ort: for builds of ONNX Runtime that hold few operators"
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads of a session; null: one per core")
    tolerance: float = Field(default=1e-3, gt=0.0, description="largest relative error of the file on real samples")

    @model_validator(mode="after")
    def _optimise_is_used(self) -> OnnxRuntimeConfig:
        if self.optimise == "none" and self.format == "ort":
            raise ValueError(
                "optimise none has no effect with format ort, whose converter optimises. Remove it, or set format: onnx."
            )
        return self


class OnnxRunner:
    """A session on one ONNX file.

    Args:
        session: an `onnxruntime.InferenceSession`.
        larger: gives the session for more than one image; None: `session` takes any number.
    """

    def __init__(self, session: Any, larger: Callable[[], Any] | None = None) -> None:
        self._session, self._larger = session, larger
        self.inputs: Sequence[str] = tuple(entry.name for entry in session.get_inputs())

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embeddings (B, D) float32 of {input name: (B, C, H, W) float32}."""
        is_alone = len(next(iter(feeds.values()))) == 1
        session = self._session if is_alone or self._larger is None else self._larger()
        with flushed():
            result: np.ndarray = session.run(None, feeds)[0]
        return result


class OnnxRuntimeBackend:
    """Compiles to ONNX, opens in ONNX Runtime on the CPU."""

    name = "onnxruntime"
    accepts = frozenset({"module", "onnx"})
    slow_when_rounded = SLOW_WHEN_ROUNDED

    def __init__(self, config: OnnxRuntimeConfig) -> None:
        self._config = config

    def compile(self, request: CompileRequest) -> Artefact:
        """Export, fold, and check at batch 1 and at the batch of the examples."""
        try:
            from edgefw.plugins.backends.onnx_export import ExportPlan, compile_onnx
        except ImportError as error:
            raise MissingDependency(
                f"backend 'onnxruntime': compiling needs {error.name}. Run: pip install \"edgefw[train]\""
            ) from error
        config = self._config
        plan = ExportPlan(opset=config.opset, exporter=config.exporter, tolerance=config.tolerance)
        return compile_onnx(request, request.folder / FILE, plan, optimise=config.optimise == "basic", runner=self.open)

    def open(self, file: Path, threads: int | None = None) -> OnnxRunner:
        """A session on the CPU; `threads` goes before the option of the recipe."""
        return _runners(file, 1, threads or self._config.threads)[0]

    def open_many(self, file: Path, most: int, threads: int | None = None) -> list[OnnxRunner]:
        """One session that several threads run; each of them computes, and what threads are left are a pool for all."""
        total = threads or self._config.threads or processors()
        count = min(most, total)
        return _runners(file, count, total - count + 1)

    def layers(self, file: Path, feeds: Mapping[str, np.ndarray]) -> LayerView:
        """What each layer of a file is and gives.

        Raises:
            MissingDependency: without the package onnx.
        """
        try:
            from edgefw.plugins.backends.onnx_layers import layer_outputs
        except ImportError as error:
            raise MissingDependency(
                f"backend 'onnxruntime': looking into layers needs {error.name}. Run: pip install \"edgefw[train]\""
            ) from error
        return layer_outputs(file, feeds)

    def int8_share(self, file: Path) -> float | None:
        """Fraction of the multiply-accumulates in int8; needs the package onnx."""
        from edgefw.plugins.backends.onnx_work import int8_share

        return int8_share(file)


def _runners(file: Path, count: int, threads: int | None) -> list[OnnxRunner]:
    """Runners on one session for a single image, and on one for more, made when first asked for.

    In a graph of fixed shape ONNX Runtime plans memory and folds what depends on shapes, once.
    """
    single = open_session(file, threads, batch=1)
    is_fixed = all(entry.shape[:1] == [1] for entry in single.get_inputs())
    larger = cache(lambda: open_session(file, threads)) if is_fixed else None
    return [OnnxRunner(single, larger) for _ in range(count)]


def open_session(file: Path, threads: int | None, batch: int | None = None) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    Args:
        file: an ONNX file, or one in ORT format.
        threads: that compute; None: one per core.
        batch: a number of images to fix the graph's shape to, where the file calls its dimension `BATCH`; None: any number.

    Raises:
        BundleError: if the file is missing or damaged, or onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BundleError(f"{file}: needs onnxruntime. Run: pip install onnxruntime") from error
    if not file.is_file():
        raise BundleError(f"{file}: there is no such file.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: folding warnings are not for the user of a bundle
    if threads:
        options.intra_op_num_threads = threads
    if batch:
        options.add_free_dimension_override_by_name(BATCH, batch)
    try:
        return exact_session(str(file), options)
    except Exception as error:  # onnxruntime raises a dozen unrelated types here
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{file}: onnxruntime cannot load it ({reason}). Is the file complete?") from error


def build(config: OnnxRuntimeConfig, context: edgefw.BuildContext) -> OnnxRuntimeBackend | OrtFormatBackend:
    """The backend; nothing is loaded yet."""
    backend: Any = OnnxRuntimeBackend(config)
    made: OnnxRuntimeBackend | OrtFormatBackend = backend if config.format == "onnx" else OrtFormatBackend(backend)
    return made


def provides_for(config: OnnxRuntimeConfig) -> frozenset[str]:
    """What a format's files offer: those in ORT format are no ONNX that a quantizer could time."""
    return PROVIDES if config.format == "onnx" else PROVIDES - {"runs-onnx"}


@edgefw.hookimpl
def edgefw_register_backends(register: Register) -> None:
    """Offer `onnxruntime`."""
    register(
        edgefw.Technique(
            name="onnxruntime",
            config=OnnxRuntimeConfig,
            build=build,
            provides=PROVIDES,
            provides_for=provides_for,
            requires=("onnxruntime",),
            install="pip install onnxruntime",
        )
    )
