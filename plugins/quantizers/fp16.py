"""Half precision of an ONNX file: half the size, computing in float or in fp16.

With `compute: fp32` weights are stored in fp16, each behind a Cast that ONNX Runtime folds when it opens the file: half the bytes, and the layers
of the float file at the float file's speed. With `compute: fp16` the whole graph is half precision, between float32 inputs and outputs, by onnxruntime's own
converter. That pays where the processor has fp16 kernels (ARM with fp16 vector instructions, GPUs); elsewhere ONNX Runtime casts around
every layer, which is slower than float: `verify` measures it, says so, and holds `max_slowdown`. Numbers beyond 65504 are refused.
It reads no calibration samples. Source: IEEE 754-2008, binary16.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

import edgefw
from edgefw.contracts.quantizer import Calibration, QuantizationReport
from edgefw.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from torch import nn

    from edgefw.registry.technique import Register

_ADVICE = "Remove the quantizer."


class HalfConfig(edgefw.TechniqueConfig):
    """Options of half precision."""

    compute: Literal["fp32", "fp16"] = Field(
        default="fp32", description="fp32: fp16 is how weights are stored; fp16: layers compute in it too"
    )


class Half:
    """Level "onnx"."""

    level = "onnx"
    precision = "fp16"
    activations = "float"

    def __init__(self, config: HalfConfig, path: str) -> None:
        self._config = config
        self._path = path
        self.computes = config.compute

    def quantize(self, source: Path, target: Path, calibration: Calibration) -> QuantizationReport:
        """Write `target`; inputs and outputs stay float32, `calibration` is not read.

        Raises:
            ExportError: if a number is beyond fp16, or the file does not shrink.
        """
        from edgefw.plugins.backends.half_precision import half, refuse_beyond
        from edgefw.plugins.quantizers.onnx_graph import loaded, quiet

        model = loaded(source)
        if self._config.compute == "fp16":
            with quiet():
                model = half(model, self._path, _ADVICE)
        else:
            refuse_beyond(model, self._path, _ADVICE)
            store_half(model)
        target.write_bytes(model.SerializeToString())
        before, after = source.stat().st_size, target.stat().st_size
        if after >= before:
            raise ExportError(f"{self._path}: fp16 made the file larger ({before} to {after} bytes). {_ADVICE}")
        details: dict[str, Any] = {**self._config.model_dump(), "bytes_before": before, "bytes_after": after}
        return QuantizationReport(details=details)

    def planned_bytes(self, networks: Sequence[nn.Module]) -> int:
        """Two bytes per parameter."""
        return sum(2 * parameter.numel() for network in networks for parameter in network.parameters())


def store_half(model: onnx.ModelProto) -> None:
    """Store float32 tensors of at least `SMALLEST` numbers in fp16, in place, each behind a Cast of its own name."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    from edgefw.plugins.quantizers.stored_weights import SMALLEST

    wide = [entry for entry in model.graph.initializer if entry.data_type == TensorProto.FLOAT]
    casts = []
    for entry in [own for own in wide if np.prod(own.dims) >= SMALLEST]:
        stored = f"{entry.name}_fp16"
        casts.append(helper.make_node("Cast", [stored], [entry.name], f"{entry.name}_float", to=TensorProto.FLOAT))
        narrow = numpy_helper.from_array(numpy_helper.to_array(entry).astype(np.float16), stored)
        model.graph.initializer.remove(entry)
        model.graph.initializer.append(narrow)
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *rest])


def build(config: HalfConfig, context: edgefw.BuildContext) -> Half:
    """The quantizer; nothing is read yet."""
    return Half(config, context.path or "fp16")


@edgefw.hookimpl
def edgefw_register_quantizers(register: Register) -> None:
    """Offer `fp16`."""
    register(
        edgefw.Technique(
            name="fp16",
            config=HalfConfig,
            build=build,
            provides=frozenset({"onnx"}),
            needs=frozenset({"backend.onnx"}),
            requires=("onnx", "onnxruntime"),
            install='pip install "edgefw[train]"',
        )
    )
