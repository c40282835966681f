"""AOTInductor: a shared library that torch compiles ahead of time and runs.

`compile` captures the network with torch.export (dynamic batch), lets torch write C++ for it, compiles that with the
machine's C++ compiler, and runs the package beside the network. The library is made for the processor that compiled it
and for one version of torch: both are stored, and another processor or version is refused before the library is loaded.
Opening needs torch, and runs native code out of the file: open packages of people you trust.
It takes float networks only, quantises nothing, and writes no CUDA code.

Source: PyTorch, torch._inductor.aoti_compile_and_package, https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

import edgefw
from edgefw.contracts.backend import Artefact, CompileRequest
from edgefw.errors import BundleError, MissingDependency

if TYPE_CHECKING:
    from edgefw.registry.technique import Register

FILE = "model.pt2"
KEY = "edgefw"
"""Of the record in the package's metadata."""
INSTALL = 'pip install "edgefw[train]"'


class AotiConfig(edgefw.TechniqueConfig):
    """Options of the AOTInductor backend."""

    threads: int | None = Field(default=None, ge=1, description="CPU threads; null: as torch is set")
    tolerance: float = Field(default=1e-3, gt=0.0, description="largest relative error of the file on real samples")


class AotiRunner:
    """A loaded package.

    Args:
        many: the compiled graph of any number of images.
        single: that of one image; None in a package without one.
        inputs: names in the order of the network's arguments.
        threads: of torch while a batch runs; None leaves them as they are.
    """

    def __init__(self, many: Any, single: Any, inputs: Sequence[str], threads: int | None) -> None:
        self._many, self._single, self._threads = many, single, threads
        self.inputs: Sequence[str] = tuple(inputs)

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embeddings (B, D) float32 of {input name: (B, C, H, W) float32}."""
        import torch

        before = torch.get_num_threads()
        wanted = self._threads or before
        if wanted != before:
            torch.set_num_threads(wanted)
        try:
            rows = [torch.from_numpy(np.ascontiguousarray(feeds[name], np.float32)) for name in self.inputs]
            compiled = self._single if self._single is not None and len(rows[0]) == 1 else self._many
            with torch.inference_mode():
                result: np.ndarray = compiled(*rows).float().numpy()
        finally:
            if wanted != before:
                torch.set_num_threads(before)
        return result


class AotiBackend:
    """Compiles with torch and a C++ compiler, opens in torch on the CPU."""

    name = "aoti"
    accepts = frozenset({"module"})

    def __init__(self, config: AotiConfig) -> None:
        self._config = config

    def check_compile(self) -> None:
        """Refuse a machine without a C++ compiler.

        Raises:
            MissingDependency: naming the program that was looked for.
        """
        program = compiler()
        if shutil.which(program) is None:
            raise MissingDependency(
                f"backend 'aoti': compiling needs a C++ compiler, and there is no '{program}'. Install one (Debian, Ubuntu: "
                "apt-get install g++), or name yours in the variable CXX."
            )

    def compile(self, request: CompileRequest) -> Artefact:
        """Capture, compile, and check at batch 1 and at the batch of the examples."""
        self.check_compile()
        from edgefw.plugins.backends.aoti_package import compile_package

        return compile_package(request, self._config.tolerance, self.open)

    def open(self, file: Path, threads: int | None = None) -> AotiRunner:
        """A package in torch; `threads` goes before the option of the recipe."""
        try:
            from edgefw.plugins.backends.aoti_package import MANY, load, machine
        except ImportError as error:
            raise BundleError(f"{file}: needs {error.name}. Run: {INSTALL}") from error
        record = read_record(file)
        if record["machine"] != machine():
            raise BundleError(
                f"{file}: was compiled for {record['machine']}, and this is {machine()}. Compile it on a machine of this kind, "
                "or take another artefact."
            )
        single = load(file, record["single"]) if "single" in record else None
        return AotiRunner(load(file, MANY), single, record["inputs"], threads or self._config.threads)


def compiler() -> str:
    """The C++ compiler that torch will call."""
    return os.environ.get("CXX") or ("clang++" if platform.system() == "Darwin" else "g++")


def read_record(file: Path) -> Mapping[str, Any]:
    """What `compile` stored about a package: its inputs and its machine; nothing of it is executed.

    Raises:
        BundleError: if the file is missing or damaged, or is no package of edgefw.
    """
    if not file.is_file():
        raise BundleError(f"{file}: there is no such file.")
    try:
        with zipfile.ZipFile(file) as archive:
            if (bad := archive.testzip()) is not None:
                raise BundleError(f"{file}: damaged ({bad}). Copy it again.")
            notes = [name for name in archive.namelist() if name.endswith("_metadata.json")]
            found = [json.loads(archive.read(name)).get(KEY) for name in notes]
        record = next(json.loads(text) for text in found if text)
        if isinstance(record["inputs"], list) and isinstance(record["machine"], str):
            return dict(record)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise BundleError(f"{file}: damaged ({error}). Copy it again.") from error
    except (StopIteration, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{file}: no package that edgefw compiled.") from error
    raise BundleError(f"{file}: no package that edgefw compiled.")


def build(config: AotiConfig, context: edgefw.BuildContext) -> AotiBackend:
    """The backend; nothing is loaded yet."""
    return AotiBackend(config)


@edgefw.hookimpl
def edgefw_register_backends(register: Register) -> None:
    """Offer `aoti`."""
    register(
        edgefw.Technique(
            name="aoti",
            config=AotiConfig,
            build=build,
            provides=frozenset({"float-only", "module"}),
            requires=("torch",),
            install=INSTALL,
        )
    )
