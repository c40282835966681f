"""From a torch network to a checked package that torch compiled ahead of time, and back into torch.

Knows torch; what a user may ask for, the backend `aoti` says.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgefw.contracts.backend import Artefact, CompileRequest, Runner
from edgefw.errors import BundleError, ExportError
from edgefw.plugins.backends.aoti import FILE, KEY, compiler
from edgefw.plugins.backends.capture import captured, captured_single, quiet

MIN_COSINE = 0.9999
SETTINGS = {"freezing": True, "cpp.dynamic_threads": True}
"""Of torch's compiler: weights become constants, so that convolutions are fused with what follows and weights are laid out once; and the
number of threads is that of the machine that runs it, not of the one that compiled it."""
MANY, SINGLE = "model", "single"
"""Models of a package: of any number of images, under the name that torch loads by default, and of one image, whose fixed shape is faster."""
_ELSEWHERE = "Use the backend onnxruntime or openvino for this student."


def machine() -> str:
    """What a package is tied to: architecture, vector instructions, and the version of torch."""
    release = torch.__version__.split("+")[0]
    return f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}, torch {release}"


def compile_package(request: CompileRequest, tolerance: float, runner: Callable[[Path], Runner]) -> Artefact:
    """Write the package, open it with `runner`, and compare.

    Raises:
        ExportError: if torch cannot capture or compile the network, or the package is not the network.
    """
    from edgefw.plugins.backends.onnx_export import Difference, checked, reference
    from edgefw.plugins.backends.reparameterise import reparameterised

    if request.quantised:
        raise ExportError(f"backend 'aoti': takes float networks, and this one was trained to round. {_ELSEWHERE}")
    network, notes = reparameterised(request.network, request.examples)
    target = request.folder / FILE
    _write(network, request, target)
    try:
        limit = Difference(cosine=MIN_COSINE, relative=tolerance)
        checks = checked(runner(target), request.examples, reference(network, request.examples), limit)
    except (ExportError, BundleError) as error:
        target.unlink()
        raise ExportError(f"backend 'aoti': {error} {_ELSEWHERE}") from error
    details = {"check": checks, "machine": machine(), "compiler": compiler(), **notes.details}
    return Artefact(file=target, level="compiled", details=details, warnings=notes.warnings)


def load(file: Path, model: str) -> Any:
    """A model of the package in torch.

    Raises:
        BundleError: if torch refuses it.
    """
    from torch._inductor.package.package import load_package

    try:
        return load_package(str(file), model)
    except Exception as error:  # RuntimeError of the loader, or what the dynamic linker says
        raise BundleError(f"{file}: torch cannot load it ({_first_line(error)}).") from error


def _write(network: nn.Module, request: CompileRequest, target: Path) -> None:
    from torch._inductor.package.package import package_aoti

    record = json.dumps({"inputs": list(request.examples), "machine": machine(), "single": SINGLE})
    try:
        with quiet(), torch.no_grad():
            programs = {MANY: captured(network, request.examples), SINGLE: captured_single(network, request.examples)}
            package_aoti(str(target), {name: _library(program, record) for name, program in programs.items()})
    except Exception as error:  # capture and compilation raise whatever they meet
        target.unlink(missing_ok=True)
        raise ExportError(f"backend 'aoti': torch cannot compile it ({_first_line(error)}). {_ELSEWHERE}") from error


def _library(program: torch.export.ExportedProgram, record: str) -> Any:
    """What torch's compiler writes for one graph."""
    import torch._inductor

    settings = {**SETTINGS, "aot_inductor.package": True, "aot_inductor.metadata": {KEY: record}}
    arguments, options = program.example_inputs or ((), {})
    return torch._inductor.aot_compile(program.module(check_guards=False), arguments, options, options=settings)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
