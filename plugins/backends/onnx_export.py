"""From a torch network to a checked ONNX file, by the first exporter that tells the truth.

Knows torch and ONNX; refuses to know recipes, quantizers and bundles. Two exporters are tried in order, and each file
is compared with the network on real samples at two batch sizes, by cosine and by relative error: an absolute tolerance
is blind to the scale of an embedding.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from torch import nn

from edgefw.contracts.backend import Artefact, CompileRequest, Runner
from edgefw.errors import ExportError
from edgefw.plugins.backends.onnx_biases import round_biases
from edgefw.plugins.backends.onnx_constants import give_own_zero_points
from edgefw.plugins.backends.onnx_gelu import multiply_by_half_last
from edgefw.plugins.backends.onnxruntime import BATCH
from edgefw.plugins.backends.reparameterise import Notes, reparameterised

OUTPUT = "embedding"
MIN_COSINE = 0.9999
LARGEST_BATCH = 65_536
ROUNDED_COSINE, ROUNDED_RELATIVE = 0.998, 0.05
"""Of a network that rounds: a value on the edge of two steps may go either way, and that is no error of the file."""
NUDGE = 1e-5
NUDGES = 8
"""A relative change of the input, far below its noise, that shows how much of an answer hangs on rounding."""

OpenFile = Callable[[Path], Runner]


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """How to export: ONNX `opset`, which `exporter`, and the largest relative error allowed."""

    opset: int
    exporter: Literal["auto", "dynamo", "legacy"]
    tolerance: float

    @property
    def exporters(self) -> tuple[str, ...]:
        """In the order in which they are tried."""
        return ("dynamo", "legacy") if self.exporter == "auto" else (self.exporter,)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Worst row of a comparison: smallest `cosine`, largest `relative` error (L2 norm over L2 norm)."""

    cosine: float
    relative: float

    def within(self, tolerance: float, cosine: float = MIN_COSINE) -> bool:
        """True if the file may stand for the network. NaN is never within."""
        return self.cosine >= cosine and self.relative <= tolerance


def compile_onnx(
    request: CompileRequest,
    target: Path,
    plan: ExportPlan,
    optimise: bool,
    runner: OpenFile,
    backend: str = "onnxruntime",
) -> Artefact:
    """Write `target` with the first exporter whose file agrees with the network, opened with `runner`.

    Raises:
        ExportError: if none does; the message has a line per exporter.
    """
    if request.quantised:
        network, notes = request.network, Notes(details={"fused_modules": 0})
    else:
        network, notes = reparameterised(request.network, request.examples)
    expected = reference(network, request.examples)
    limit = allowed(network, request, expected, plan.tolerance)
    failures: list[str] = []
    for exporter in plan.exporters:
        try:
            checks = _attempt(exporter, network, request, target, plan, optimise, runner, expected, limit)
        except ExportError as error:
            failures.append(f"{exporter} exporter: {error}")
            continue
        details = {"exporter": exporter, "opset": plan.opset, "optimised": optimise, "check": checks, **notes.details}
        return Artefact(file=target, level="onnx", details=details, warnings=(*notes.warnings, *failures))
    raise ExportError(f"backend '{backend}': no exporter gave a correct file. " + " ".join(failures))


def _attempt(
    exporter: str,
    network: nn.Module,
    request: CompileRequest,
    target: Path,
    plan: ExportPlan,
    optimise: bool,
    runner: OpenFile,
    expected: np.ndarray,
    limit: Difference,
) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory(dir=request.folder) as folder:
        draft = Path(folder) / "draft.onnx"
        export_file(exporter, network, request.examples, draft, plan.opset)
        if optimise:
            draft = fold_constants(draft, Path(folder) / "folded.onnx")
            multiply_by_half_last(draft)
        if request.quantised:
            round_biases(draft)
            give_own_zero_points(draft)
        checks = checked(runner(draft), request.examples, expected, limit)
        shutil.move(draft, target)
    return checks


def export_file(
    exporter: str, network: nn.Module, examples: Mapping[str, np.ndarray], target: Path, opset: int
) -> None:
    """Export with one exporter; the batch dimension is dynamic, inputs keep their names.

    Raises:
        ExportError: if the exporter fails; the message is its first line.
    """
    arguments = tuple(torch.from_numpy(np.ascontiguousarray(values[:2])) for values in examples.values())
    write = _dynamo if exporter == "dynamo" else _legacy
    try:
        with _quiet(), torch.no_grad():
            write(network, arguments, list(examples), target, opset)
    except Exception as error:  # exporters raise whatever their tracing raises
        raise ExportError(first_line(error)) from error


def _dynamo(
    network: nn.Module, arguments: tuple[torch.Tensor, ...], names: list[str], target: Path, opset: int
) -> None:
    batch = torch.export.Dim(BATCH, min=1, max=LARGEST_BATCH)
    shapes: tuple[Any, ...] = tuple({0: batch} for _ in arguments)
    kinds = [parameter.kind for parameter in inspect.signature(network.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        shapes = (shapes,)
    program = torch.onnx.export(
        network,
        arguments,
        dynamo=True,
        verbose=False,
        input_names=names,
        output_names=[OUTPUT],
        dynamic_shapes=shapes,
        opset_version=opset,
        optimize=True,
    )
    if program is None:
        raise ExportError("torch.onnx.export returned nothing")
    model = program.model_proto
    found = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if found != opset:
        raise ExportError(f"wrote opset {found} instead of {opset}")
    onnx.save(model, target)


def _legacy(
    network: nn.Module, arguments: tuple[torch.Tensor, ...], names: list[str], target: Path, opset: int
) -> None:
    axes = {name: {0: BATCH} for name in (*names, OUTPUT)}
    torch.onnx.export(
        network,
        arguments,
        str(target),
        dynamo=False,
        input_names=names,
        output_names=[OUTPUT],
        dynamic_axes=axes,
        opset_version=opset,
    )


def fold_constants(source: Path, target: Path) -> Path:
    """Let ONNX Runtime fold constants and fuse what any device can use; standard operators only."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    try:
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(f"onnxruntime cannot load the exported file ({first_line(error)})") from error
    return target


def reference(network: nn.Module, examples: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the torch network says, (B, D) float32."""
    with torch.inference_mode():
        result: np.ndarray = network(*(torch.from_numpy(values) for values in examples.values())).float().numpy()
    return result


def allowed(network: nn.Module, request: CompileRequest, expected: np.ndarray, tolerance: float) -> Difference:
    """The largest difference between file and network.

    A float file may differ by `tolerance`. A network that rounds flips a step here and there whenever a sum is taken in
    another order, and a deep one amplifies it: twice the worst that its own nudged inputs do is allowed too.
    """
    if not request.quantised:
        return Difference(cosine=MIN_COSINE, relative=tolerance)
    own = [compare(expected, reference(network, _nudged(request.examples, seed))) for seed in range(NUDGES)]
    return Difference(
        cosine=min(ROUNDED_COSINE, 1 - 2 * max(1 - found.cosine for found in own)),
        relative=max(tolerance, ROUNDED_RELATIVE, 2 * max(found.relative for found in own)),
    )


def _nudged(examples: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        name: values + (NUDGE * values.std() * draw.standard_normal(values.shape)).astype(np.float32)
        for name, values in examples.items()
    }


def compare(expected: np.ndarray, actual: np.ndarray) -> Difference:
    """The worst row of two (B, D) arrays; rows of zeros on both sides agree."""
    if expected.shape != actual.shape:
        raise ExportError(f"the file gives shape {actual.shape}, the network {expected.shape}")
    wanted, got = expected.astype(np.float64), actual.astype(np.float64)
    length, other = np.linalg.norm(wanted, axis=1), np.linalg.norm(got, axis=1)
    tiny = np.finfo(np.float64).tiny
    error = np.linalg.norm(wanted - got, axis=1)
    relative = np.where(error > 0, error / np.maximum(length, tiny), error)
    cosine = np.where(error == 0, 1.0, (wanted * got).sum(axis=1) / np.maximum(length * other, tiny))
    return Difference(cosine=float(cosine.min()), relative=float(relative.max()))


def checked(
    runner: Runner, examples: Mapping[str, np.ndarray], expected: np.ndarray, limit: Difference
) -> dict[str, dict[str, float]]:
    """How far a file is from what is expected, alone and in a batch.

    Raises:
        ExportError: if it does not run, or is further off than the limit.
    """
    checks: dict[str, dict[str, float]] = {}
    for batch in (1, len(expected)):
        try:
            actual = runner.run({name: values[:batch] for name, values in examples.items()})
        except Exception as error:
            raise ExportError(f"the file does not run at batch {batch} ({first_line(error)})") from error
        found = compare(expected[:batch], actual)
        if not found.within(limit.relative, limit.cosine):
            raise ExportError(
                f"the file disagrees with the network at batch {batch}: cosine {found.cosine:.6f}, relative error "
                f"{found.relative:.2g} (allowed {limit.cosine:.6g} and {limit.relative:.2g})."
            )
        checks[f"batch {batch}"] = {"cosine": found.cosine, "relative_error": found.relative}
    return checks


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters print, warn and log about their own insides; what counts is checked on the file."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def first_line(error: Exception) -> str:
    """Type and first line of an error, for a message of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
