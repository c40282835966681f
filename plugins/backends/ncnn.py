"""ncnn: one network for ARM and x86 boards, converted by pnnx, run in fp32.

`compile` traces the network, lets pnnx translate the trace, refuses what ncnn has no layer for, and runs the result beside
the torch network. ncnn has no batch: images go through one by one. A network is a text (.param) beside its weights (.bin);
both lie in one zip, with the names of the inputs. `storage: fp16` keeps weights in half the bytes; sums stay fp32.
`open` needs ncnn and numpy only. It takes float networks only, quantises nothing, and does not use Vulkan.

Source: ncnn and pnnx, Tencent, https://github.com/Tencent/ncnn (BSD-3-Clause).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

import edgefw
from edgefw.contracts.backend import Artefact, CompileRequest
from edgefw.errors import BundleError, MissingDependency
from edgefw.plugins.backends.one_file import read_parts
from edgefw.registry.requirements import is_importable

if TYPE_CHECKING:
    from edgefw.contracts.backend import LayerView
    from edgefw.registry.technique import Register

FILE = "model.ncnn.zip"
PARTS = ("model.param", "model.bin", "inputs.txt")
OUTPUT = "out0"
INSTALL = 'pip install "edgefw[ncnn]"'
_LOWER = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")


class NcnnConfig(edgefw.TechniqueConfig):
    """Options of the ncnn backend."""

    storage: Literal["fp32", "fp16"] = Field(default="fp32", description="how weights are stored; sums are always fp32")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; null: one per core")
    tolerance: float | None = Field(
        default=None, gt=0.0, description="largest relative error on real samples; null: 0.001; with fp16 0.01"
    )


class NcnnRunner:
    """A loaded network; images go through one by one.

    Args:
        net: an `ncnn.Net` with its weights.
        inputs: names in the order of ncnn's in0, in1, ...
    """

    def __init__(self, net: Any, inputs: Sequence[str]) -> None:
        import ncnn

        self._net, self._matrix = net, ncnn.Mat
        self.inputs: Sequence[str] = tuple(inputs)

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embeddings (B, D) float32 of {input name: (B, C, H, W) float32}."""
        rows = [np.ascontiguousarray(feeds[name], np.float32) for name in self.inputs]
        return np.stack([self._one([images[number] for images in rows]) for number in range(len(rows[0]))])

    def _one(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """The embedding (D,) of one (C, H, W) image per input."""
        extractor = self._net.create_extractor()
        for position, image in enumerate(images):
            extractor.input(f"in{position}", self._matrix(image))
        status, found = extractor.extract(OUTPUT)
        if status != 0:
            raise BundleError(f"ncnn cannot run the network (status {status}): do the images have its size?")
        return np.array(found, np.float32).reshape(-1)


class NcnnBackend:
    """Compiles with pnnx, opens in ncnn on the CPU."""

    name = "ncnn"
    accepts = frozenset({"module"})

    def __init__(self, config: NcnnConfig) -> None:
        self._config = config
        self.precision = config.storage

    def check_compile(self) -> None:
        """Refuse a machine without pnnx, which cameras do not need.

        Raises:
            MissingDependency: with the command that installs it.
        """
        if not is_importable("pnnx"):
            raise MissingDependency(f"backend 'ncnn': compiling needs pnnx. Run: {INSTALL}")

    def compile(self, request: CompileRequest) -> Artefact:
        """Trace, translate, and check at batch 1 and at the batch of the examples."""
        self.check_compile()
        try:
            from edgefw.plugins.backends.ncnn_convert import compile_ncnn
        except ImportError as error:
            raise MissingDependency(
                f"backend 'ncnn': compiling needs {error.name}. Run: pip install \"edgefw[train]\""
            ) from error
        config: Any = self._config
        return compile_ncnn(request, config, self.open)

    def open(self, file: Path, threads: int | None = None) -> NcnnRunner:
        """A network on the CPU; `threads` goes before the option of the recipe."""
        return NcnnRunner(*_opened(file, threads or self._config.threads))

    def layers(self, file: Path, feeds: Mapping[str, np.ndarray]) -> LayerView:
        """What each layer of a file is and gives.

        Raises:
            ExportError: if the file is missing or damaged, cannot be looked into, or ncnn is not installed.
        """
        from edgefw.plugins.backends.layer_stream import unseen
        from edgefw.plugins.backends.ncnn_layers import layer_outputs

        try:
            net, inputs = _opened(file, 1)
        except BundleError as error:
            raise unseen(file, error) from error
        return layer_outputs(file, net, inputs, feeds)


def _opened(file: Path, threads: int | None) -> tuple[Any, list[str]]:
    """An `ncnn.Net` with its weights, and the names of its inputs.

    Raises:
        BundleError: if the file is missing or damaged, or ncnn is not installed.
    """
    try:
        import ncnn
    except ImportError as error:
        raise BundleError(f"{file}: needs ncnn. Run: pip install ncnn") from error
    graph, weights, names = read_parts(file, PARTS)
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    for word in _LOWER:
        setattr(net.opt, f"use_{word}", False)
    if threads:
        net.opt.num_threads = threads
    _load(net, graph, weights, file)
    inputs = names.decode("utf-8", "replace").split()
    if [*net.input_names()] != [f"in{number}" for number in range(len(inputs))]:
        raise BundleError(f"{file}: its network takes {', '.join(net.input_names())}, and {len(inputs)} are named.")
    return net, inputs


def _load(net: Any, graph: bytes, weights: bytes, file: Path) -> None:
    """Fill a net through files: ncnn reads nothing else from Python.

    Raises:
        BundleError: if ncnn refuses them.
    """
    with tempfile.TemporaryDirectory(prefix="edgefw-") as folder:
        param, binary = Path(folder) / PARTS[0], Path(folder) / PARTS[1]
        param.write_bytes(graph)
        binary.write_bytes(weights)
        if net.load_param(str(param)) != 0 or net.load_model(str(binary)) != 0:
            raise BundleError(f"{file}: ncnn cannot load it. Is the file complete, and ncnn as new as its writer?")


def build(config: NcnnConfig, context: edgefw.BuildContext) -> NcnnBackend:
    """The backend; nothing is loaded yet."""
    return NcnnBackend(config)


@edgefw.hookimpl
def edgefw_register_backends(register: Register) -> None:
    """Offer `ncnn`."""
    register(
        edgefw.Technique(
            name="ncnn",
            config=NcnnConfig,
            build=build,
            provides=frozenset({"float-only", "module"}),
            requires=("ncnn",),
            install=INSTALL,
        )
    )
