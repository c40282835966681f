"""A backend: compiles for a target, and opens what it compiled in the target's own runtime."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from edgefw.errors import ExportError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class CompileRequest:
    """What to compile.

    Attributes:
        network: module in evaluation mode from one tensor per input to embeddings (B, D), on the CPU.
        inputs: input name -> (C, H, W); the batch dimension is dynamic.
        folder: an existing, empty folder for the files.
        examples: input name -> (B, C, H, W) float32 real samples, B of at least 3, to check the result on.
        quantised: whether the network rounds its activations (a training-time quantizer converted it). Where a value
            lies on the edge of two steps, the last bit of a float sum decides; a check must allow for that.
        keep_onnx: whether a quantizer wants the float ONNX file, see `Artefact.onnx`.
        level: "module", or "program" where `network` is the captured graph that a quantizer of programs rounded; only a
            backend that accepts "program" is asked for that.
    """

    network: nn.Module
    inputs: Mapping[str, tuple[int, int, int]]
    folder: Path
    examples: Mapping[str, np.ndarray]
    quantised: bool = False
    keep_onnx: bool = False
    level: str = "module"


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A compiled model.

    Attributes:
        file: the main file, inside the request's folder.
        level: "onnx" where a quantizer can go on from this file, else "compiled".
        details: how it was made (exporter, opset, fusions), for the report.
        warnings: what a user should read.
        onnx: the float ONNX file that a quantizer can go on from, where `file` is something else and `keep_onnx` was
            asked for; whoever asked removes it.
    """

    file: Path
    level: str
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    onnx: Path | None = None


class Runner(Protocol):
    """An opened artefact.

    One thread at a time calls a runner, and it need not be the thread that opened it, nor the one that called it before. Other
    runners may run meanwhile.
    """

    inputs: Sequence[str]

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embeddings (B, D) float32 of {input name: (B, C, H, W) float32}."""
        ...


class Backend(Protocol):
    """Compiles and opens. Importing a backend must not import torch: the device opens artefacts without it.

    Where its options have `threads`, null is replaced by the recipe's `compute.threads` (see `session_threads`).

    A backend may also have:

    - `precision`, a word: what its float artefacts compute in, where that is not "fp32" (see `float_precision`);
    - `check_compile()`, which raises an EdgefwError that says why nothing can be compiled on this machine; it is called
      before anything is trained (see `refuse_unready`);
    - `check_quantizer(quantizer)`, which raises an EdgefwError that says why this backend cannot read the files of a quantizer that works on one of its
      levels; it is called before anything is trained (see `edgefw.contracts.quantizer.refuse_pairs`);
    - `not_run_here()`, which says why the files that it compiles cannot be opened on this machine, None where they can;
      `open` then raises MissingDependency (see `absence`);
    - `compile_onnx`, see `OnnxCompiler`;
    - `open_many`, see `ManyOpener`;
    - `layers`, see `LayerShower`;
    - `int8_share`, see `WorkCounter`;
    - `slow_when_rounded`, see `edgefw.contracts.operators.Hampered`.
    """

    name: str
    accepts: frozenset[str]

    def compile(self, request: CompileRequest) -> Artefact:
        """Compile a network.

        Raises:
            ExportError: if it cannot be compiled, or the compiled file disagrees with the network on the examples.
        """
        ...

    def open(self, file: Path, threads: int | None = None) -> Runner:
        """Load a compiled file in its own runtime.

        Raises:
            BundleError: if the file is damaged or its runtime is not installed.
            MissingDependency: where `not_run_here` gives a reason.
        """
        ...


@runtime_checkable
class OnnxCompiler(Protocol):
    """A backend whose own files are not ONNX, and that compiles the ONNX files of quantizers; it accepts "onnx"."""

    def compile_onnx(self, source: Path, request: CompileRequest) -> Artefact:
        """Compile a quantised ONNX file into the request's folder; the request's network is its float source.

        Raises:
            ExportError: if it cannot be compiled, or the compiled file is not what `source` says.
        """
        ...


@runtime_checkable
class ManyOpener(Protocol):
    """A backend that can run one file in several threads at once; of others, one image runs at a time."""

    def open_many(self, file: Path, most: int, threads: int | None = None) -> Sequence[Runner]:
        """Runners on one copy of the weights, each for one image at a time, which may run at the same time.

        Args:
            file: as for `open`.
            most: as many runners as there are threads, but no more than this.
            threads: CPU threads, shared out among the runners; None: the backend's own option.

        Raises:
            BundleError: if the file is damaged or its runtime is not installed.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One output of a node that depends on an image.

    Attributes:
        layer: name of the node.
        operator: what it computes.
        tensor: name of the output.
        stands_for: name of the source's tensor that it should equal.
        inputs: names of the tensors that the node reads.
    """

    layer: str
    operator: str
    tensor: str
    stands_for: str
    inputs: tuple[str, ...]


class LayerView(Protocol):
    """A file and a few images: what each layer is, and what it gives."""

    layers: Sequence[Layer]

    def values(self) -> Generator[np.ndarray | None, np.ndarray | None, None]:
        """What each of `layers` gives, in their order; None where that is not float.

        They are computed as they are asked for, and forgotten when no node is left that reads them. Where an array is sent
        back for a layer, the nodes behind it read that array instead.

        Raises:
            ExportError: if a layer does not run.
        """
        ...


@runtime_checkable
class LayerShower(Protocol):
    """A backend that shows what the layers inside its files give, so that a wrong one can be named."""

    def layers(self, file: Path, feeds: Mapping[str, np.ndarray]) -> LayerView:
        """The layers in an order in which they can be computed, the graph's inputs first.

        Raises:
            ExportError: if the file cannot be looked into.
        """
        ...


@runtime_checkable
class WorkCounter(Protocol):
    """A backend that says how much of a file's arithmetic is int8, so that an int8 file that is none is not called so."""

    def int8_share(self, file: Path) -> float | None:
        """Fraction of the multiply-accumulates for one image that run in int8; None where the file does not tell."""
        ...


def float_precision(backend: Backend) -> str:
    """What a backend's float artefacts compute in, as part of their names: "fp32", "bf16"."""
    return str(getattr(backend, "precision", "fp32"))


def session_threads(options: Mapping[str, Any], compute: int | None) -> int | None:
    """CPU threads that a file is opened with: the `threads` of its backend's options, else the recipe's `compute.threads`.

    >>> session_threads({"threads": 4}, 2), session_threads({"threads": None}, 2), session_threads({}, None)
    (4, 2, None)
    """
    stated = options.get("threads")
    return compute if stated is None else int(stated)


def absence(backend: Backend) -> str | None:
    """Why files of a backend cannot be opened on this machine, although it compiles them: "not run here: ..."; or None."""
    ask = getattr(backend, "not_run_here", None)
    reason = ask() if ask is not None else None
    return f"not run here: {reason}" if reason else None


def refuse_unready(backends: Sequence[Backend], heat: bool = False) -> None:
    """Let every backend say now, before anything is trained, that it cannot compile on this machine.

    Args:
        backends: in the recipe's order.
        heat: whether the first one has to compile maps, which are opened as they are made.

    Raises:
        EdgefwError: the first backend's reason.
    """
    if heat and (reason := absence(backends[0])):
        raise ExportError(
            f"export.heat: maps are made by the first backend, and '{backends[0].name}' is {reason}. Name another one first."
        )
    for backend in backends:
        check = getattr(backend, "check_compile", None)
        if check is not None:
            check()
