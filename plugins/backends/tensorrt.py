"""TensorRT: a plan for one NVIDIA GPU, or what another machine needs to make one.

`compile` exports ONNX as the backend onnxruntime does and checks it in ONNX Runtime. Where TensorRT and a GPU are here,
a plan is built of it and checked as well: `model.plan`. Where not, the artefact is `model.onnx`, beside it `trtexec.sh` with
the line that builds the plan, and everything says that the file was not run here. `open` takes either: a plan is
loaded, an ONNX file is built first, once, and kept in the user's cache. Networks are strongly typed: TensorRT computes in
the types that the graph has (`precision: fp16` writes them into files that no quantizer made, the int8 files of quantizers hold them), because
TensorRT 11 knows no other way. `open` needs tensorrt and cuda-python only. It runs on one GPU, and not on DLA.

Source: NVIDIA, TensorRT documentation, "Strongly Typed Networks", "Working with Dynamic Shapes", "Explicit Quantization".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

import edgefw
from edgefw.contracts.backend import Artefact, CompileRequest
from edgefw.errors import BundleError, ExportError, MissingDependency
from edgefw.plugins.backends.tensorrt_plan import INSTALL, Profile, absent, cached_plan

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.plugins.backends.tensorrt_onnx import PlanWriter
    from edgefw.registry.technique import Register

ADVICE = "Use int8-static with `activation: int8`."
ONNX, PLAN, SCRIPT = "model.onnx", "model.plan", "trtexec.sh"


class TensorRtConfig(edgefw.TechniqueConfig):
    """Options of the TensorRT backend."""

    precision: Literal["fp32", "fp16"] = Field(
        default="fp32",
        description="what files that no quantizer made compute in; the layers of a quantizer's file stay as they are",
    )
    tf32: bool = Field(default=False, description="let fp32 products round their factors to 10 bits, which is faster")
    best_batch: int = Field(default=1, ge=1, description="the batch that the plan is tuned for")
    largest_batch: int = Field(default=32, ge=1, le=4096, description="more images than this run in turns")
    opset: int = Field(default=18, ge=18, le=20, description="ONNX operator set on the way to the plan")
    exporter: Literal["auto", "dynamo", "legacy"] = Field(
        default="auto", description="torch.export based, TorchScript based, or the second where the first fails"
    )
    tolerance: float | None = Field(
        default=None, gt=0.0, description="largest relative error on real samples; null: 0.001; fp16 or tf32 0.01"
    )

    @model_validator(mode="after")
    def _best_is_not_beyond_largest(self) -> TensorRtConfig:
        if self.best_batch > self.largest_batch:
            raise ValueError(f"best_batch {self.best_batch} is larger than largest_batch {self.largest_batch}")
        return self

    @property
    def limit(self) -> float:
        """The largest relative error of a file against the network."""
        return self.tolerance or (0.01 if self.precision == "fp16" or self.tf32 else 1e-3)

    def profile(self) -> Profile:
        """Batches and types that a plan is built for."""
        return Profile(best=self.best_batch, largest=self.largest_batch, tf32=self.tf32)


class TensorRtBackend:
    """Compiles to a plan or to ONNX, opens in TensorRT on the first GPU."""

    name = "tensorrt"
    accepts = frozenset({"module", "onnx"})

    def __init__(self, config: TensorRtConfig) -> None:
        self._config = config
        self.precision = config.precision

    def not_run_here(self) -> str | None:
        """That there is no TensorRT, or no GPU; None where there are both."""
        return absent()

    def check_quantizer(self, quantizer: Any) -> None:
        """Refuse what is known to round as TensorRT does not, before anything is trained.

        Raises:
            ExportError: with what to set.
        """
        rounding, name = getattr(quantizer, "activations", None), quantizer.precision
        if rounding == "uneven":
            raise ExportError(
                f"backend 'tensorrt': the quantizer '{name}' rounds to uint8 or has a zero point; TensorRT takes int8 around 0. {ADVICE}"
            )
        if rounding == "dynamic":
            raise ExportError(
                f"backend 'tensorrt': the quantizer '{name}' measures ranges as it runs, and TensorRT has no such layers. {ADVICE}"
            )
        if foreign := getattr(quantizer, "foreign", ()):
            raise ExportError(
                f"backend 'tensorrt': the quantizer '{name}' writes {', '.join(foreign)}, which is not ONNX's own; TensorRT has no such "
                f"operator. {ADVICE}"
            )

    def compile(self, request: CompileRequest) -> Artefact:
        """Export, check in ONNX Runtime at two batch sizes, and build and check the plan where that is possible."""
        return self._writer().from_network(request)

    def compile_onnx(self, source: Path, request: CompileRequest) -> Artefact:
        """A quantizer's file as TensorRT reads it, checked against that file in ONNX Runtime."""
        return self._writer().from_onnx(source, request)

    def open(self, file: Path, threads: int | None = None) -> Runner:
        """The plan on the GPU; CPU threads do not matter to it.

        Raises:
            MissingDependency: without TensorRT or a GPU.
        """
        if not file.is_file():
            raise BundleError(f"{file}: there is no such file.")
        if reason := absent():
            raise MissingDependency(f"{file.name}: not run here: {reason}")
        from edgefw.plugins.backends.tensorrt_run import load

        return load(cached_plan(file, self._config.profile()) if file.suffix == ".onnx" else file.read_bytes(), file)

    def _writer(self) -> PlanWriter:
        try:
            from edgefw.plugins.backends.tensorrt_onnx import PlanWriter
        except ImportError as error:
            raise MissingDependency(
                f"backend 'tensorrt': compiling needs {error.name}. Run: pip install \"edgefw[train]\""
            ) from error
        config: Any = self._config
        return PlanWriter(config, self.open)


def build(config: TensorRtConfig, context: edgefw.BuildContext) -> TensorRtBackend:
    """The backend; nothing is loaded yet."""
    return TensorRtBackend(config)


@edgefw.hookimpl
def edgefw_register_backends(register: Register) -> None:
    """Offer `tensorrt`; its packages are not required, because it writes ONNX without them."""
    register(
        edgefw.Technique(
            name="tensorrt",
            config=TensorRtConfig,
            build=build,
            provides=frozenset({"float-only", "module", "onnx"}),
            install=INSTALL,
        )
    )
