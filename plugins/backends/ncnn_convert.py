"""From a torch network to a checked ncnn network in one file, through a trace and pnnx's own program.

Knows torch and pnnx; how a file is opened, the backend `ncnn` says.
"""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from edgefw.contracts.backend import Artefact, CompileRequest, Runner
from edgefw.errors import BundleError, ExportError
from edgefw.plugins.backends.ncnn import FILE, PARTS
from edgefw.plugins.backends.one_file import join_files
from edgefw.plugins.backends.onnx_export import MIN_COSINE, Difference, checked, first_line, reference
from edgefw.plugins.backends.reparameterise import reparameterised

if TYPE_CHECKING:
    from edgefw.plugins.backends.ncnn import NcnnConfig

LIMITS = {"fp32": 1e-3, "fp16": 0.01}
"""Largest relative error by storage: Winograd's sums in one case, 10 bits of mantissa in the other."""
_PATIENCE_S = 1800.0
_LINES = 3
"""So many of the last lines of a pnnx that failed are told."""
_ELSEWHERE = "Use the backend onnxruntime or openvino for this student."


def compile_ncnn(request: CompileRequest, config: NcnnConfig, runner: Callable[[Path], Runner]) -> Artefact:
    """Write the network, open it with `runner`, and compare.

    Raises:
        ExportError: if pnnx or ncnn does not know an operator, or the file is not the network.
    """
    if request.quantised:
        raise ExportError(f"backend 'ncnn': takes float networks, and this one was trained to round. {_ELSEWHERE}")
    network, notes = reparameterised(request.network, request.examples)
    target = request.folder / FILE
    with tempfile.TemporaryDirectory(dir=request.folder) as folder:
        parts = _converted(network, request, Path(folder), half=config.storage == "fp16")
        _refuse_unknown(parts[0])
        join_files(target, dict(zip(PARTS, parts)))
    limit = Difference(cosine=MIN_COSINE, relative=config.tolerance or LIMITS[config.storage])
    try:
        checks = checked(runner(target), request.examples, reference(network, request.examples), limit)
    except (ExportError, BundleError) as error:
        target.unlink()
        raise ExportError(f"backend 'ncnn': {error} {_ELSEWHERE}") from error
    details: dict[str, Any] = {"check": checks, "storage": config.storage, **notes.details}
    details |= {name: version(name) for name in ("ncnn", "pnnx")}
    return Artefact(file=target, level="compiled", details=details, warnings=notes.warnings)


def _converted(network: nn.Module, request: CompileRequest, folder: Path, half: bool) -> list[Path]:
    """The files of `PARTS`, written by pnnx."""
    import pnnx

    trace = folder / "trace.pt"
    images = [torch.from_numpy(np.ascontiguousarray(values[:1])) for values in request.examples.values()]
    shapes = ["[" + ",".join(map(str, image.shape)) + "]f32" for image in images]
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.jit.trace(network, tuple(images), check_trace=False).save(str(trace))  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever a module's forward raises while it is traced
        raise ExportError(
            f"backend 'ncnn': the network cannot be traced ({first_line(error)}). {_ELSEWHERE}"
        ) from error
    parts = [folder / name for name in PARTS]
    parts[2].write_text("\n".join(request.examples) + "\n", encoding="utf-8")
    command = [pnnx.EXEC_PATH, str(trace), f"inputshape={','.join(shapes)}", f"fp16={int(half)}"]
    command += [f"ncnnparam={parts[0]}", f"ncnnbin={parts[1]}"]
    _run(command, folder)
    if missing := [part.name for part in parts if not part.is_file()]:
        raise ExportError(f"backend 'ncnn': pnnx wrote no {missing[0]}. {_ELSEWHERE}")
    return parts


def _run(command: Sequence[str], folder: Path) -> None:
    """Run pnnx in a folder.

    Raises:
        ExportError: with the last that it said, if it fails; if it does not end in time.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False, timeout=_PATIENCE_S
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"backend 'ncnn': pnnx had not ended after {_PATIENCE_S:g} seconds and was stopped. {_ELSEWHERE}"
        ) from error
    if done.returncode != 0:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        last = ": " + " / ".join(said[-_LINES:]) if said else ""
        raise ExportError(f"backend 'ncnn': pnnx failed (status {done.returncode}{last}). {_ELSEWHERE}")


def _refuse_unknown(param: Path) -> None:
    """Refuse operators that pnnx left as they were: ncnn's own layers have no dot or colon in their names.

    Raises:
        ExportError: naming them.
    """
    kinds = [line.split()[0] for line in param.read_text(encoding="utf-8").splitlines()[2:] if line.strip()]
    if unknown := sorted({kind for kind in kinds if "." in kind or ":" in kind}):
        raise ExportError(f"backend 'ncnn': ncnn has no layer for {', '.join(unknown)}. {_ELSEWHERE}")
