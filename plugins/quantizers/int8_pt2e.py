"""Static int8 of an exported program (PT2E), as XNNPACK computes it.

Affine quantisation (Jacob et al. 2018, arXiv:1712.05877, section 2.1): r = S (q - Z), weights in symmetric int8 per output
channel (-127 to 127), activations in int8 per tensor. torch.export captures the network, an observer behind every layer
that XNNPACK has in int8 collects a histogram over the calibration samples, and each range is the one of least squared
error on it. The graph then holds quantise and dequantise pairs, which the backend `executorch` hands to XNNPACK. torchao
and ExecuTorch do the arithmetic. Memory does not grow with the number of samples: an observer keeps a histogram, and one
batch runs at a time. It writes no file, and it does not train (that is `int8-qat`, which ExecuTorch cannot compile).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

import edgefw
from edgefw.contracts.quantizer import Calibration, QuantizationReport
from edgefw.errors import ExportError, MissingDependency

if TYPE_CHECKING:
    from torch import nn

    from edgefw.registry.technique import Register

INSTALL = 'pip install "edgefw[executorch,train]"'


class Pt2eConfig(edgefw.TechniqueConfig):
    """Options of int8 by PT2E."""

    per_channel: bool = Field(default=True, description="one weight scale per output channel, not per tensor")
    exclude: list[str] = Field(default=[], description="shell patterns of module names that stay float")


class Int8Pt2e:
    """Level "program"."""

    level = "program"
    precision = "int8-pt2e"

    def __init__(self, config: Pt2eConfig, path: str) -> None:
        self._config = config
        self._path = path

    def quantize_program(self, network: nn.Module, calibration: Calibration) -> tuple[nn.Module, QuantizationReport]:
        """The network with rounding in its graph; `network` is left as it is.

        Raises:
            ExportError: if it cannot be captured, a pattern fits no module, or no layer can be int8.
        """
        try:
            from edgefw.plugins.quantizers.program_graph import excluded_modules, layer_counts, rounded_program
        except ImportError as error:
            raise MissingDependency(f"{self._path}: int8-pt2e needs {error.name}. Run: {INSTALL}") from error
        config = self._config
        excluded = excluded_modules(network, config.exclude, self._path)
        try:
            rounded, notes = rounded_program(network, calibration, config.per_channel, excluded)
        except Exception as error:  # whatever capturing and annotating a graph meets
            raise ExportError(
                f"{self._path}: the network cannot be rounded ({type(error).__name__}: {error})."
            ) from error
        layers = layer_counts(rounded)
        if not layers["int8"]:
            raise ExportError(
                f"{self._path}: no layer can be int8 ({layers['float']} stay float). Remove the quantizer."
            )
        details: dict[str, Any] = {**config.model_dump(), "layers": layers, "samples": calibration.samples}
        return rounded, QuantizationReport(details={**details, **notes.details}, warnings=notes.warnings)


def build(config: Pt2eConfig, context: edgefw.BuildContext) -> Int8Pt2e:
    """The quantizer; nothing is read yet."""
    return Int8Pt2e(config, context.path or "int8-pt2e")


@edgefw.hookimpl
def edgefw_register_quantizers(register: Register) -> None:
    """Offer `int8-pt2e`."""
    register(
        edgefw.Technique(
            name="int8-pt2e",
            config=Pt2eConfig,
            build=build,
            provides=frozenset({"program"}),
            needs=frozenset({"backend.program"}),
            requires=("executorch", "torch", "torchao"),
            install=INSTALL,
            paper="arXiv:1712.05877",
        )
    )
