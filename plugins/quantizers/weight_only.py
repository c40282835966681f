"""Weights alone in 8 or 4 bits: a smaller file, which computes in float.

Kernels of convolutions and matrices of Gemm become symmetric int8 with one step per output channel, W = S Q with S = max|W| / 127, behind a
DequantizeLinear. Matrices of MatMul are packed for ONNX Runtime's MatMulNBits in `bits` bits, affine in blocks along the summed dimension:
W = S (Q - Z) with S = (max - min) / (2^bits - 1) per block and output, rounded to nearest (RTN; Frantar et al. 2022, arXiv:2210.17323,
section 3). A DequantizeLinear before a MatMul would be stored as well, but ONNX Runtime 1.32 fuses it into a MatMulNBits that rounds activations to
int8 as it runs. So activations stay float, nothing is calibrated, and nothing runs in int8: the file shrinks, and no layer gets faster. It uses
no second-order information (GPTQ), and leaves biases, norms and tables as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

import edgefw
from edgefw.contracts.quantizer import Calibration, QuantizationReport
from edgefw.errors import ExportError

if TYPE_CHECKING:
    from torch import nn

    from edgefw.registry.technique import Register


BITS: Final = 8
BLOCK: Final = 32


class WeightOnlyConfig(edgefw.TechniqueConfig):
    """Options of weight-only quantisation."""

    bits: Literal[4, 8] = Field(default=BITS, description="of MatMul's matrices; other weights have 8")
    block: Literal[16, 32, 64, 128, 256] = Field(default=BLOCK, description="MatMul's weights that share a step")
    exclude: list[str] = Field(default=[], description="shell patterns of node names whose weights stay float")


class WeightOnly:
    """Level "onnx"."""

    level = "onnx"
    precision = "weight-only"
    activations = "float"
    foreign = ("MatMulNBits",)

    def __init__(self, config: WeightOnlyConfig, path: str) -> None:
        self._config = config
        self._path = path

    def quantize(self, source: Path, target: Path, calibration: Calibration) -> QuantizationReport:
        """Write `target`; `calibration` is not read.

        Raises:
            ExportError: if there is nothing to shrink.
        """
        from edgefw.plugins.quantizers.onnx_graph import loaded, named_nodes
        from edgefw.plugins.quantizers.stored_weights import pack_matrices, shrink_weights, weighted_products

        model = loaded(source)
        excluded = named_nodes(model, tuple(self._config.exclude), self._path)
        packed = [name for name in weighted_products(model) if name not in excluded]
        if not packed:
            self._refuse_idle_options()
        model = pack_matrices(model, packed, self._config.bits, self._config.block)
        shrunk = shrink_weights(model, set(excluded))
        if not packed and not shrunk:
            raise ExportError(f"{self._path}: the graph has no weights to shrink. Remove the quantizer.")
        target.write_bytes(model.SerializeToString())
        return self._report(source, target, len(shrunk), len(packed))

    def check_network(self, network: nn.Module) -> None:
        """Refuse options for matrices of MatMul before a student without any is trained.

        Raises:
            ExportError: where `quantize` would be sure to refuse the file.
        """
        from edgefw.plugins.quantizers.planned_weights import packs_nothing

        if self._is_default() or not packs_nothing(network):
            return
        self._refuse_idle_options()

    def _is_default(self) -> bool:
        return self._config.bits == BITS and self._config.block == BLOCK

    def _refuse_idle_options(self) -> None:
        """Refuse what was set for matrices of MatMul where there are none.

        Raises:
            ExportError: naming the option.
        """
        config = self._config
        if config.bits != BITS:
            raise ExportError(f"{self._path}.bits: 4 bits are for MatMul, and the graph has none with weights. Use 8.")
        if config.block != BLOCK:
            raise ExportError(
                f"{self._path}.block: blocks of {config.block} are for MatMul, and the graph has none with weights. Remove the option."
            )

    def planned_bytes(self, networks: Sequence[nn.Module]) -> int:
        """Bytes of the file of a network, and of what a graph has beside it, before anything is trained."""
        from edgefw.plugins.quantizers.planned_weights import planned_bytes

        return planned_bytes(networks, self._config.bits, self._config.block)

    def _report(self, source: Path, target: Path, shrunk: int, packed: int) -> QuantizationReport:
        before, after = source.stat().st_size, target.stat().st_size
        if after >= before:
            raise ExportError(f"{self._path}: weight-only made the file larger ({before} to {after} bytes).")
        details: dict[str, Any] = {
            **self._config.model_dump(),
            "dequantized_weights": shrunk,
            "packed_matrices": packed,
            "bytes_before": before,
            "bytes_after": after,
        }
        return QuantizationReport(details=details)


def build(config: WeightOnlyConfig, context: edgefw.BuildContext) -> WeightOnly:
    """The quantizer; nothing is read yet."""
    return WeightOnly(config, context.path or "weight-only")


@edgefw.hookimpl
def edgefw_register_quantizers(register: Register) -> None:
    """Offer `weight-only`."""
    register(
        edgefw.Technique(
            name="weight-only",
            config=WeightOnlyConfig,
            build=build,
            provides=frozenset({"onnx"}),
            needs=frozenset({"backend.onnx"}),
            requires=("onnx", "onnxruntime"),
            install='pip install "edgefw[train]"',
            paper="arXiv:2210.17323",
        )
    )
