"""From a torch network to a checked .tflite file, through a captured program and another environment.

Knows torch; the converter runs as `litert_script.py`, and how a file is opened, the backend `litert` says.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from edgefw.contracts.backend import Artefact, CompileRequest, Runner
from edgefw.errors import BundleError, ExportError
from edgefw.own_environment import own_environment
from edgefw.plugins.backends.capture import captured_single, quiet
from edgefw.plugins.backends.litert import ENVIRONMENT, FILE
from edgefw.plugins.backends.onnx_export import MIN_COSINE, Difference, checked, first_line, reference
from edgefw.plugins.backends.reparameterise import reparameterised

SCRIPT = Path(__file__).with_name("litert_script.py")
_ELSEWHERE = "Use the backend onnxruntime or openvino for this student."


def compile_litert(request: CompileRequest, tolerance: float, runner: Callable[[Path], Runner]) -> Artefact:
    """Write the file, open it with `runner`, and compare.

    Raises:
        ExportError: if the network cannot be captured or converted, or the file is not the network.
    """
    if request.quantised:
        raise ExportError(f"backend 'litert': takes float networks, and this one was trained to round. {_ELSEWHERE}")
    network, notes = reparameterised(request.network, request.examples)
    target = request.folder / FILE
    with tempfile.TemporaryDirectory(prefix="edgefw-") as folder:
        program = Path(folder) / "program.pt2"
        _capture(network, request, program)
        made = _converted(program, target, list(request.examples))
    limit = Difference(cosine=MIN_COSINE, relative=tolerance)
    try:
        checks = checked(runner(target), request.examples, reference(network, request.examples), limit)
    except (ExportError, BundleError) as error:
        target.unlink()
        raise ExportError(f"backend 'litert': {error} {_ELSEWHERE}") from error
    details: dict[str, Any] = {"check": checks, "batch": 1, "converter": made, **notes.details}
    details |= {"ai_edge_litert": version("ai-edge-litert")}
    return Artefact(file=target, level="compiled", details=details, warnings=notes.warnings)


def _capture(network: torch.nn.Module, request: CompileRequest, program: Path) -> None:
    try:
        with quiet(), torch.no_grad():
            torch.export.save(captured_single(network, request.examples), program)
    except Exception as error:  # whatever a module's forward raises while it is captured
        raise ExportError(
            f"backend 'litert': the network cannot be captured ({first_line(error)}). {_ELSEWHERE}"
        ) from error


def _converted(program: Path, target: Path, names: list[str]) -> dict[str, str]:
    """Write `target` in the converter's environment; its versions."""
    what = "backend 'litert': litert-torch cannot convert the network"
    try:
        said = own_environment(ENVIRONMENT).run(SCRIPT, [str(program), str(target), *names], what)
    except ExportError as error:
        target.unlink(missing_ok=True)
        raise ExportError(f"{error} {_ELSEWHERE}") from error
    found: dict[str, str] = json.loads(said.splitlines()[-1])
    return found
