"""LiteRT (once TensorFlow Lite): one .tflite file for phones and boards.

`compile` captures the network with torch.export for one image and hands it to litert-torch, in an environment of its own
because that wants an older torch (`core/own_environment.py`); the file then runs here, in LiteRT's interpreter with
XNNPACK, beside the torch network. The batch is fixed at one: a batch is a loop over its images. The file's signature takes
the images by the names of the graph's inputs, as (1, C, H, W) float32. `open` needs ai-edge-litert and numpy only. It takes
float networks only, quantises nothing, and uses no GPU or NPU delegate.

Source: Google, LiteRT and litert-torch, https://github.com/google-ai-edge (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

import edgefw
from edgefw.contracts.backend import Artefact, CompileRequest
from edgefw.errors import BundleError, MissingDependency
from edgefw.own_environment import own_environment

if TYPE_CHECKING:
    from edgefw.contracts.backend import LayerView
    from edgefw.registry.technique import Register

FILE = "model.tflite"
ENVIRONMENT = "litert"
INSTALL = 'pip install "edgefw[litert]"'
_MARK, _MARK_AT = b"TFL3", 4
"""What every .tflite file has behind its first four bytes."""


class LiteRtConfig(edgefw.TechniqueConfig):
    """Options of the LiteRT backend."""

    threads: int | None = Field(default=None, ge=1, description="CPU threads; null: as many as LiteRT takes")
    tolerance: float = Field(default=1e-3, gt=0.0, description="largest relative error of the file on real samples")


class LiteRtRunner:
    """A loaded file; images go through one by one.

    Args:
        signature: the interpreter's runner of the file's one signature.
        output: name of its output.
    """

    def __init__(self, signature: Any, output: str) -> None:
        self._signature, self._output = signature, output
        self.inputs: Sequence[str] = tuple(signature.get_input_details())

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embeddings (B, D) float32 of {input name: (B, C, H, W) float32}."""
        rows = {name: np.ascontiguousarray(feeds[name], np.float32) for name in self.inputs}
        count = len(rows[self.inputs[0]])
        return np.concatenate(
            [self._one({name: own[at : at + 1] for name, own in rows.items()}) for at in range(count)]
        )

    def _one(self, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """The embedding (1, D) of one (1, C, H, W) image per input."""
        try:
            return np.array(self._signature(**images)[self._output], np.float32)
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"LiteRT cannot run the file ({error}): do the images have its size?") from error


class LiteRtBackend:
    """Compiles with litert-torch in another environment, opens in LiteRT on the CPU."""

    name = "litert"
    accepts = frozenset({"module"})

    def __init__(self, config: LiteRtConfig) -> None:
        self._config = config

    def check_compile(self) -> None:
        """Refuse a machine without the converter's environment.

        Raises:
            MissingDependency: with the command that makes it.
        """
        try:
            own_environment(ENVIRONMENT).require()
        except MissingDependency as error:
            raise MissingDependency(f"backend 'litert': {error}") from error

    def compile(self, request: CompileRequest) -> Artefact:
        """Capture, convert, and check at batch 1 and at the batch of the examples."""
        self.check_compile()
        try:
            from edgefw.plugins.backends.litert_convert import compile_litert
        except ImportError as error:
            raise MissingDependency(
                f"backend 'litert': compiling needs {error.name}. Run: pip install \"edgefw[train]\""
            ) from error
        return compile_litert(request, self._config.tolerance, self.open)

    def open(self, file: Path, threads: int | None = None) -> LiteRtRunner:
        """A file on the CPU; `threads` goes before the option of the recipe."""
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise BundleError(f"{file}: needs ai-edge-litert. Run: {INSTALL}") from error
        data = _read(file)
        try:
            interpreter = Interpreter(model_content=data, num_threads=threads or self._config.threads)
            ((name, parts),) = interpreter.get_signature_list().items()
            (output,) = parts["outputs"]
            return LiteRtRunner(interpreter.get_signature_runner(name), output)
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BundleError(f"{file}: LiteRT cannot load it ({reason}). Is the file complete?") from error

    def layers(self, file: Path, feeds: Mapping[str, np.ndarray]) -> LayerView:
        """What each operator of a file is and gives.

        Raises:
            ExportError: if the file is missing or damaged, cannot be looked into, or ai-edge-litert is not installed.
        """
        from edgefw.plugins.backends.layer_stream import unseen
        from edgefw.plugins.backends.litert_layers import layer_outputs

        try:
            self.open(file, 1)
        except BundleError as error:
            raise unseen(file, error) from error
        return layer_outputs(file, _read(file), feeds)


def _read(file: Path) -> bytes:
    """The file's bytes.

    Raises:
        BundleError: if it is missing, or no .tflite file; LiteRT trusts what it is given.
    """
    if not file.is_file():
        raise BundleError(f"{file}: there is no such file.")
    data = file.read_bytes()
    if data[_MARK_AT : _MARK_AT + len(_MARK)] != _MARK:
        raise BundleError(f"{file}: no .tflite file. Copy it again.")
    return data


def build(config: LiteRtConfig, context: edgefw.BuildContext) -> LiteRtBackend:
    """The backend; nothing is loaded yet."""
    return LiteRtBackend(config)


@edgefw.hookimpl
def edgefw_register_backends(register: Register) -> None:
    """Offer `litert`."""
    register(
        edgefw.Technique(
            name="litert",
            config=LiteRtConfig,
            build=build,
            provides=frozenset({"float-only", "module"}),
            requires=("ai_edge_litert",),
            install=INSTALL,
        )
    )
