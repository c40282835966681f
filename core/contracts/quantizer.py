"""A quantizer: makes an artefact smaller on the one level it states.

An ONNX quantizer works on a file, a program quantizer on the graph that torch.export captures, both after training. A module quantizer works inside the training loop: it captures one
tensor-only trunk, and optimiser, EMA and data-parallel wrapping come after `prepare`; a resumed run prepares before
it loads.

One of any level may have `activations`. Without it, or with any word but "float", its files promise integer arithmetic: `verify` calls one without a
product in int8 fp32, whatever its precision is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from edgefw.contracts.backend import OnnxCompiler
from edgefw.errors import EdgefwError, RecipeError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from edgefw.contracts.backend import Backend, Runner


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Held-in samples for ranges: `batches()` starts a fresh pass over {input name: (B, C, H, W) float32}.

    Attributes:
        batches: see above.
        samples: rows of a pass.
        modalities: what each row is an image of, in order; empty where rows are all of one kind, or nothing is known.
    """

    batches: CalibrationSource
    samples: int
    modalities: tuple[str, ...] = ()


class CalibrationSource(Protocol):
    """Starts a pass over the calibration data; only one batch is in memory at a time."""

    def __call__(self) -> Iterable[Mapping[str, np.ndarray]]: ...


@dataclass(frozen=True, kw_only=True)
class QuantizationReport:
    """What was done, for the report.

    Attributes:
        details: settings and counts. `choices`, where a quantizer chose part by part, is a list of rows {group, nodes,
            macs_share, precision ("int8" or "float"), float_ms, int8_ms, why}; share and times may be None: export prints it, the report shows it.
        warnings: what a user should read.
        stays_float: nothing was worth quantising, and no file was written: the float file is the artefact. Only a
            quantizer that times its files may say so.
    """

    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    stays_float: bool = False


class OnnxQuantizer(Protocol):
    """Level "onnx": a float file to a smaller file. It may also be a `NetworkChecker`.

    It may say in `activations` how the file rounds them: "even" (signed numbers around 0), "uneven" (unsigned, or with a zero
    point), "dynamic" (in a range measured as it runs), "float" (not at all), or None where that depends on the samples; a backend that cannot read that refuses it early. It may name in `foreign` the operators beyond
    ONNX's own that its files may hold, say in `narrow` whether its weights have 7 bits (where it has a choice), so that no processor cuts sums of
    products, and in `computes` what layers of a half-precision file compute in.
    """

    level: str
    precision: str
    """Names the artefact: `export/onnxruntime-<precision>/`."""

    def quantize(self, source: Path, target: Path, calibration: Calibration) -> QuantizationReport:
        """Write `target` from `source`; `source` is left as it is."""
        ...


@runtime_checkable
class TimedQuantizer(Protocol):
    """Level "onnx", and provides `timed`: what it makes depends on how fast files run here, in the device's runtime."""

    level: str
    precision: str

    def quantize_timed(
        self, source: Path, target: Path, calibration: Calibration, opened: Callable[[Path], Runner]
    ) -> QuantizationReport:
        """Write `target` from `source`, or say `stays_float`; `source` is left as it is.

        Args:
            source: float file.
            target: file to write.
            calibration: rows of its inputs.
            opened: opens an ONNX file as the device will: its backend, its options, its threads.
        """
        ...


class ProgramQuantizer(Protocol):
    """Level "program": a float network to a graph that rounds, which a backend of that level compiles."""

    level: str
    precision: str
    """Names the artefact: `export/executorch-<precision>/`."""

    def quantize_program(self, network: nn.Module, calibration: Calibration) -> tuple[nn.Module, QuantizationReport]:
        """What torch.export captures again: the network's graph with rounding; `network` is left as it is.

        Args:
            network: in evaluation mode, from one tensor per input to embeddings (B, D), on the CPU.
            calibration: rows of the network's inputs, in their order.
        """
        ...


class ModuleQuantizer(Protocol):
    """Level "module": fake quantisation during training."""

    level: str
    precision: str

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """The network with fake quantisation, same signature, trainable."""
        ...

    def convert(self, network: nn.Module) -> nn.Module:
        """The trained network with static ranges, ready for export."""
        ...


@runtime_checkable
class NetworkChecker(Protocol):
    """A quantizer that knows from the student alone that it would refuse the student's file."""

    def check_network(self, network: nn.Module) -> None:
        """Called before anything is trained.

        Raises:
            EdgefwError: that says why, and what to use instead.
        """
        ...


@runtime_checkable
class SizeTeller(Protocol):
    """A quantizer whose files do not hold a byte per number of matrices and kernels."""

    def planned_bytes(self, networks: Sequence[nn.Module]) -> int:
        """Bytes of a file, for `edgefw check`.

        Args:
            networks: the student, a module with `spec`, then what a graph of several inputs has beside it.
        """
        ...


def refuse_misfits(quantizers: Iterable[object], network: nn.Module) -> None:
    """Let every quantizer say now, before anything is trained, that this student is none for it.

    Raises:
        EdgefwError: the first quantizer's reason.
    """
    for quantizer in quantizers:
        if isinstance(quantizer, NetworkChecker):
            quantizer.check_network(network)


def refuse_pairs(quantizers: Mapping[str, Any], backends: Sequence[Backend]) -> None:
    """Say now, before anything is trained, that a quantizer has no backend to work for, or one that cannot read its file.

    Args:
        quantizers: key path in the recipe -> quantizer that works after training.
        backends: in the recipe's order.

    Raises:
        RecipeError: for a quantizer that fits no backend.
        EdgefwError: the first backend's reason, behind the quantizer's path.
    """
    for path, quantizer in quantizers.items():
        fitting = [backend for backend in backends if fits(quantizer, backend)]
        if not fitting:
            raise RecipeError(f"{path}: {_idle(quantizer, backends)}")
        for backend in fitting:
            try:
                getattr(backend, "check_quantizer", _fine)(quantizer)
            except EdgefwError as error:
                raise type(error)(f"{path}: {error}") from error


def _fine(quantizer: object) -> None:
    """What a backend without `check_quantizer` says."""


def _idle(quantizer: Any, backends: Sequence[Backend]) -> str:
    """Why a quantizer makes no file for any of these backends."""
    names = ", ".join(backend.name for backend in backends)
    if isinstance(quantizer, TimedQuantizer):
        return (
            f"'{quantizer.precision}' times ONNX files as they run on this machine, and no backend here ({names}) runs them as they are. "
            "Use int8-static, or a backend that runs ONNX files (onnxruntime with format: onnx)."
        )
    return f"'{quantizer.precision}' works on level {quantizer.level}, which no backend here ({names}) takes. Add one that does."


def fits(quantizer: OnnxQuantizer | ProgramQuantizer | TimedQuantizer, backend: Backend) -> bool:
    """Whether a quantizer works on a level of a backend; one that times ONNX files needs a backend that runs them."""
    if isinstance(quantizer, TimedQuantizer) and isinstance(backend, OnnxCompiler):
        return False
    return quantizer.level in backend.accepts
