"""ExecuTorch: a program for phones and boards, run by XNNPACK in fp32 or int8.

`compile` captures the network with torch.export for one image, hands what XNNPACK knows to XNNPACK, and runs the file
beside the torch network. A batch is a loop over its images. `model.pte` is ExecuTorch's own file: a C++ or Android app
loads it as it is; the names of its inputs are what its method `edgefw_inputs` returns. In Python, ExecuTorch runs inside
torch, so opening needs both. It uses no delegate but XNNPACK, and quantises nothing itself: int8 is what the quantizer
`int8-pt2e` makes of the captured program.

Source: PyTorch, ExecuTorch, https://docs.pytorch.org/executorch (BSD-3-Clause).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

import edgefw
from edgefw.contracts.backend import Artefact, CompileRequest
from edgefw.errors import BundleError, MissingDependency

if TYPE_CHECKING:
    from edgefw.registry.technique import Register

FILE = "model.pte"
INPUTS = "edgefw_inputs"
"""A method of the program that returns the names of its inputs, a line each."""
METHOD = "forward"
INSTALL = 'pip install "edgefw[executorch]"'


class ExecuTorchConfig(edgefw.TechniqueConfig):
    """Options of the ExecuTorch backend."""

    threads: int | None = Field(default=None, ge=1, description="CPU threads; null: as many as ExecuTorch takes")
    tolerance: float = Field(default=1e-3, gt=0.0, description="largest relative error of a float file on real samples")


class ThreadPool:
    """XNNPACK's threads. A process has one pool; a method keeps pointing at the pool that it was loaded with.

    Attributes:
        generation: changes with the pool: a method of an earlier one must be loaded again before it runs.
        turn: held by the runner that runs, or is being opened: what runs must not lose its pool.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.turn = Lock()

    def resize(self, threads: int | None) -> None:
        """Give the pool so many threads; None leaves it as it is."""
        from executorch.extension.pybindings import portable_lib

        if threads and portable_lib._threadpool_get_thread_count() != threads:
            portable_lib._unsafe_reset_threadpool(threads)
            self.generation += 1


POOL = ThreadPool()


class ExecuTorchRunner:
    """A loaded program; images go through one by one.

    Args:
        file: the program.
        threads: of XNNPACK's pool whenever a batch runs; None takes the pool as it is.
    """

    def __init__(self, file: Path, threads: int | None) -> None:
        self._file, self._threads = file, threads
        with POOL.turn:
            self._load()
            self.inputs: Sequence[str] = self._names()

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embeddings (B, D) float32 of {input name: (B, C, H, W) float32}."""
        import torch

        rows = [torch.from_numpy(np.ascontiguousarray(feeds[name], np.float32)) for name in self.inputs]
        with POOL.turn:
            POOL.resize(self._threads)
            if self._generation != POOL.generation:
                self._load()
            found = [self._one([images[number : number + 1] for images in rows]) for number in range(len(rows[0]))]
        return np.concatenate(found)

    def _names(self) -> tuple[str, ...]:
        try:
            return tuple(self._program.load_method(INPUTS).execute([])[0].split("\n"))
        except Exception as error:  # KeyError without the method, whatever its outputs are without names
            raise BundleError(f"{self._file}: no program that edgefw compiled.") from error

    def _one(self, images: Sequence[Any]) -> np.ndarray:
        """The embedding (1, D) of one (1, C, H, W) image per input."""
        try:
            result: np.ndarray = self._method.execute(images)[0].numpy()
        except RuntimeError as error:
            raise BundleError(
                f"{self._file}: ExecuTorch cannot run it ({error}): do the images have its size?"
            ) from error
        return result

    def _load(self) -> None:
        """Load the method into the pool as it is now; whoever calls has the pool's turn.

        Raises:
            BundleError: if the file is missing or damaged, or ExecuTorch is not here.
        """
        runtime = _runtime(self._file)
        if not self._file.is_file():
            raise BundleError(f"{self._file}: there is no such file.")
        POOL.resize(self._threads)
        self._generation = POOL.generation
        try:
            self._program = runtime.load_program(self._file)
            self._method = self._program.load_method(METHOD)
        except Exception as error:  # RuntimeError with a number, KeyError without the method
            raise BundleError(f"{self._file}: ExecuTorch cannot load it ({error}). Is the file complete?") from error


class ExecuTorchBackend:
    """Compiles with ExecuTorch's exporter, opens in its runtime on the CPU."""

    name = "executorch"
    accepts = frozenset({"module", "program"})

    def __init__(self, config: ExecuTorchConfig) -> None:
        self._config = config

    def compile(self, request: CompileRequest) -> Artefact:
        """Capture, lower, and check at batch 1 and at the batch of the examples."""
        try:
            from edgefw.plugins.backends.executorch_program import compile_program
        except ImportError as error:
            raise MissingDependency(
                f"backend 'executorch': compiling needs {error.name}. Run: pip install \"edgefw[executorch,train]\""
            ) from error
        return compile_program(request, self._config.tolerance, self.open)

    def open(self, file: Path, threads: int | None = None) -> ExecuTorchRunner:
        """A program in ExecuTorch; `threads` goes before the option of the recipe."""
        return ExecuTorchRunner(file, threads or self._config.threads)


def _runtime(file: Path) -> Any:
    """ExecuTorch's runtime.

    Raises:
        BundleError: if it is not installed, or was built for another torch.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its Python interface may change
            from executorch.runtime import Runtime
    except ModuleNotFoundError as error:
        raise BundleError(f"{file}: needs {error.name or 'executorch'}. Run: {INSTALL}") from error
    except ImportError as error:  # the dynamic linker's reason
        raise BundleError(
            f"{file}: this executorch was built for another torch ({error}). Run: pip install --upgrade executorch torch"
        ) from error
    return Runtime.get()


def build(config: ExecuTorchConfig, context: edgefw.BuildContext) -> ExecuTorchBackend:
    """The backend; nothing is loaded yet."""
    return ExecuTorchBackend(config)


@edgefw.hookimpl
def edgefw_register_backends(register: Register) -> None:
    """Offer `executorch`."""
    register(
        edgefw.Technique(
            name="executorch",
            config=ExecuTorchConfig,
            build=build,
            provides=frozenset({"float-only", "module", "program"}),
            requires=("executorch", "torch"),
            install=INSTALL,
        )
    )
