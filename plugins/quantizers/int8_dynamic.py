"""Dynamic int8 of an ONNX file: activation ranges are measured as it runs.

Weights of matrix products become int8 ahead of time; the range of each activation is taken from the very tensor that is
multiplied, so no calibration data are read. That suits transformers and large heads. For convolutions it is a trap: ORT
runs them as ConvInteger, which has no fast kernel (MobileNetV3 became 19 times slower than float, EfficientNet-B0 16
times; onnxruntime#12854, #17389). So convolutions stay float, and a graph whose weights sit in convolutions is refused.
Onnxruntime.quantization does the arithmetic; affine quantisation as in Jacob et al. 2018 (arXiv:1712.05877).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

import edgefw
from edgefw.contracts.quantizer import Calibration, QuantizationReport
from edgefw.errors import ExportError

if TYPE_CHECKING:
    from torch import nn

    from edgefw.plugins.quantizers.onnx_graph import GraphFacts
    from edgefw.registry.technique import Register

CONVOLUTIONAL = 0.5
"""From this share of weights in convolutions on, a graph is refused."""


class DynamicConfig(edgefw.TechniqueConfig):
    """Options of dynamic int8."""

    per_channel: bool = Field(default=True, description="one weight scale per output channel, not per tensor")
    reduce_range: bool = Field(default=False, description="7-bit weights: the fast kernel on x86 without VNNI")
    convolutions: bool = Field(default=False, description="quantise convolutions too: smaller, and far slower")


class Int8Dynamic:
    """Level "onnx"."""

    level = "onnx"
    precision = "int8-dynamic"
    activations = "dynamic"

    def __init__(self, config: DynamicConfig, path: str) -> None:
        self._config = config
        self._path = path
        self.narrow = config.reduce_range

    def check_network(self, network: nn.Module) -> None:
        """Refuse a convolutional student before it is trained.

        Raises:
            ExportError: where `quantize` would be sure to refuse the file. Every other parameter of two or more dimensions counts
                as a matrix, so a student whose share of convolutions is close to the limit is let through here.
        """
        from torch import nn

        kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        kernels = sum(layer.weight.numel() for layer in network.modules() if isinstance(layer, kinds))
        total = sum(parameter.numel() for parameter in network.parameters() if parameter.dim() >= 2)
        self._refuse(min(1.0, kernels / max(1, total)))

    def quantize(self, source: Path, target: Path, calibration: Calibration) -> QuantizationReport:
        """Write `target`; `calibration` is not read.

        Raises:
            ExportError: for a convolutional network, or if nothing can be quantised.
        """
        from onnxruntime.quantization import QuantType, quantize_dynamic

        from edgefw.plugins.quantizers.onnx_graph import facts, preprocessed, quiet

        with tempfile.TemporaryDirectory() as folder:
            clean = Path(folder) / "clean.onnx"
            found = facts(preprocessed(source, clean))
            operators = self._operators(found)
            try:
                with quiet():
                    quantize_dynamic(
                        str(clean),
                        str(target),
                        op_types_to_quantize=operators,
                        per_channel=self._config.per_channel,
                        reduce_range=self._config.reduce_range,
                        weight_type=QuantType.QInt8,
                    )
            except Exception as error:  # whatever a graph makes onnxruntime stumble over
                raise ExportError(f"{self._path}: onnxruntime cannot quantise the graph ({error}).") from error
        return self._report(source, target, found, operators)

    def _operators(self, found: GraphFacts) -> list[str]:
        from edgefw.plugins.quantizers.onnx_graph import CONVOLUTIONS

        if self._config.convolutions:
            return ["Conv", "MatMul", "Gemm"]
        self._refuse(found.share(CONVOLUTIONS))
        if not found.weights["MatMul"] + found.weights["Gemm"]:
            raise ExportError(f"{self._path}: the graph has no weighted matrix product. Use int8-static.")
        return ["MatMul", "Gemm"]

    def _refuse(self, share: float) -> None:
        """Refuse a share of weights in convolutions that would make the file slow."""
        if share >= CONVOLUTIONAL and not self._config.convolutions:
            raise ExportError(
                f"{self._path}: {share:.0%} of the weights are in convolutions, which onnxruntime runs many times "
                "slower in dynamic int8 than in float. Use int8-static, or set convolutions: true to do it anyway."
            )

    def _report(self, source: Path, target: Path, found: GraphFacts, operators: list[str]) -> QuantizationReport:
        before, after = source.stat().st_size, target.stat().st_size
        if after >= before:
            raise ExportError(f"{self._path}: int8-dynamic made the file larger ({before} to {after} bytes).")
        details = {
            **self._config.model_dump(),
            "operators": operators,
            "bytes_before": before,
            "bytes_after": after,
        }
        return QuantizationReport(details=details, warnings=_warnings(found, operators))


def _warnings(found: GraphFacts, operators: list[str]) -> tuple[str, ...]:
    convolutions = found.nodes["Conv"]
    if not convolutions:
        return ()
    if "Conv" in operators:
        return (f"{convolutions} convolutions run as ConvInteger: expect them many times slower than float.",)
    return (f"{convolutions} convolutions stay float: dynamic int8 would make them slower.",)


def build(config: DynamicConfig, context: edgefw.BuildContext) -> Int8Dynamic:
    """The quantizer; nothing is read yet."""
    return Int8Dynamic(config, context.path or "int8-dynamic")


@edgefw.hookimpl
def edgefw_register_quantizers(register: Register) -> None:
    """Offer `int8-dynamic`."""
    register(
        edgefw.Technique(
            name="int8-dynamic",
            config=DynamicConfig,
            build=build,
            provides=frozenset({"onnx"}),
            needs=frozenset({"backend.onnx"}),
            requires=("onnx", "onnxruntime"),
            install='pip install "edgefw[train]"',
            paper="arXiv:1712.05877",
        )
    )
