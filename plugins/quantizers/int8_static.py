"""Static int8 of an ONNX file (QDQ), with ranges from training samples.

Affine quantisation (Jacob et al. 2018, arXiv:1712.05877, section 2.1): r = S (q - Z), with weights in symmetric int8 per
output channel and activations in uint8 (or int8) per tensor. Ranges of activations come from calibration samples: their
minimum and maximum, a percentile, or the range of least Kullback-Leibler divergence. onnxruntime.quantization does the
arithmetic; `activation_ranges` feeds it, in memory that does not grow with the number of samples. By default only convolutions and matrix products with weights become int8; what lies between them,
and attention's products of two activations, stays float: quantising those costs a transformer more accuracy than it
saves. A layer is rounded behind its ReLU or Clip, see `clamps`. It makes files smaller; whether it also makes them faster depends on the machine, and `verify` measures it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

import edgefw
from edgefw.contracts.quantizer import Calibration, QuantizationReport
from edgefw.errors import ExportError

if TYPE_CHECKING:
    from edgefw.registry.technique import Register


PERCENTILE = 99.99


class StaticConfig(edgefw.TechniqueConfig):
    """Options of static int8."""

    ranges: Literal["minmax", "percentile", "entropy"] = Field(
        default="minmax", description="how the range of an activation follows from the samples"
    )
    percentile: float = Field(default=PERCENTILE, gt=50.0, le=100.0, description="share kept by ranges: percentile")
    operators: Literal["weighted", "all"] | list[str] = Field(
        default="weighted", description="what has weights to shrink, all that onnxruntime can, or ONNX operator names"
    )
    exclude: list[str] = Field(default=[], description="shell patterns of node names that stay float")
    per_channel: bool = Field(default=True, description="one weight scale per output channel, not per tensor")
    activation: Literal["uint8", "int8"] = Field(default="uint8", description="uint8 for x86, int8 for ARM")
    zero_point: Literal["auto", "affine", "symmetric"] = Field(
        default="auto",
        description="affine: the range as measured; symmetric: around 0; auto: symmetric for int8 alone",
    )
    reduce_range: bool = Field(default=False, description="7-bit weights: the fast kernel on x86 without VNNI")
    batch: int = Field(default=4, ge=1, description="calibration samples in memory at a time")

    @model_validator(mode="after")
    def _percentile_is_used(self) -> StaticConfig:
        if self.percentile != PERCENTILE and self.ranges != "percentile":
            raise ValueError(
                f"percentile {self.percentile:g} has no effect with ranges {self.ranges}. Set ranges: percentile, or remove it."
            )
        return self

    @property
    def is_symmetric(self) -> bool:
        """Whether the range of an activation lies around 0."""
        return self.activation == "int8" if self.zero_point == "auto" else self.zero_point == "symmetric"


class Int8Static:
    """Level "onnx"."""

    level = "onnx"
    precision = "int8-static"

    def __init__(self, config: StaticConfig, path: str) -> None:
        self._config = config
        self._path = path
        self.narrow = config.reduce_range
        self.activations = "even" if config.activation == "int8" and config.is_symmetric else "uneven"

    def quantize(self, source: Path, target: Path, calibration: Calibration) -> QuantizationReport:
        """Write `target`; its weights are int8, its inputs and outputs stay float32.

        Raises:
            ExportError: if nothing can be quantised, or the file does not shrink.
        """
        from edgefw.plugins.quantizers.static_writer import StaticWriter

        config: Any = self._config
        with tempfile.TemporaryDirectory() as folder:
            writer = StaticWriter(source, Path(folder), config, self._path)
            writer.write(target, calibration, writer.excluded)
        return self._report(source, target, calibration, writer.operators, writer.excluded)

    def _report(
        self, source: Path, target: Path, calibration: Calibration, operators: list[str], excluded: list[str]
    ) -> QuantizationReport:
        before, after = source.stat().st_size, target.stat().st_size
        if after >= before:
            raise ExportError(f"{self._path}: int8-static made the file larger ({before} to {after} bytes).")
        details = {
            **self._config.model_dump(),
            "operators": operators,
            "excluded_nodes": len(excluded),
            "samples": calibration.samples,
            "bytes_before": before,
            "bytes_after": after,
        }
        return QuantizationReport(details=details)


def build(config: StaticConfig, context: edgefw.BuildContext) -> Int8Static:
    """The quantizer; nothing is read yet.

    Raises:
        ExportError: if `operators` names one that onnxruntime cannot quantise.
    """
    path = context.path or "int8-static"
    check_operators(config, path)
    return Int8Static(config, path)


def check_operators(config: StaticConfig, path: str) -> None:
    """Look up the operators that are named one by one; onnxruntime's list takes a while to load."""
    if not isinstance(config.operators, str):
        from edgefw.plugins.quantizers.static_writer import refuse_unknown

        refuse_unknown(config.operators, path)


@edgefw.hookimpl
def edgefw_register_quantizers(register: Register) -> None:
    """Offer `int8-static`."""
    register(
        edgefw.Technique(
            name="int8-static",
            config=StaticConfig,
            build=build,
            provides=frozenset({"onnx"}),
            needs=frozenset({"backend.onnx"}),
            requires=("onnx", "onnxruntime"),
            install='pip install "edgefw[train]"',
            paper="arXiv:1712.05877",
        )
    )
