"""A quantizer: makes an artefact smaller on the one level it states.

An ONNX quantizer works on a file, after training. A module quantizer works inside the training loop: it captures one
tensor-only trunk, and optimiser, EMA and data-parallel wrapping come after `prepare`; a resumed run prepares before
it loads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Held-in samples for ranges: `batches()` starts a fresh pass over {input name: (B, C, H, W) float32}."""

    batches: CalibrationSource
    samples: int


class CalibrationSource(Protocol):
    """Starts a pass over the calibration data; only one batch is in memory at a time."""

    def __call__(self) -> Iterable[Mapping[str, np.ndarray]]: ...


@dataclass(frozen=True, kw_only=True)
class QuantizationReport:
    """What was done, for the report: settings, counts, and warnings a user should read."""

    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class OnnxQuantizer(Protocol):
    """Level "onnx": a float file to a smaller file."""

    level: str
    precision: str
    """Names the artefact: `export/onnxruntime-<precision>/`."""

    def quantize(self, source: Path, target: Path, calibration: Calibration) -> QuantizationReport:
        """Write `target` from `source`; `source` is left as it is."""
        ...


class ModuleQuantizer(Protocol):
    """Level "module": fake quantisation during training."""

    level: str
    precision: str

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """The network with fake quantisation, same signature, trainable."""
        ...

    def convert(self, network: nn.Module) -> nn.Module:
        """The trained network with static ranges, ready for export."""
        ...
