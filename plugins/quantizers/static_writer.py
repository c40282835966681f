"""Writes static int8 files of one float ONNX file; ranges are measured once, however many files are written.

It decides which nodes may become int8 at all, and lets onnxruntime.quantization do the arithmetic on those that a caller
does not exclude. Which of them should, `int8-static` and `int8-latency-aware` say.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxruntime.quantization import QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from edgefw.contracts.quantizer import Calibration
from edgefw.errors import ExportError
from edgefw.plugins.backends.onnx_clamps import CLAMPS
from edgefw.plugins.quantizers.activation_ranges import RangeOptions, activation_ranges
from edgefw.plugins.quantizers.clamps import clamped, round_behind, shared
from edgefw.plugins.quantizers.onnx_graph import (
    activation_products,
    facts,
    named_nodes,
    preprocessed,
    quiet,
    softmax_readers,
    with_shapes,
)

if TYPE_CHECKING:
    from edgefw.plugins.quantizers.int8_static import StaticConfig

KNOWN = QDQRegistry.keys() | QLinearOpsRegistry.keys()
"""Operators that onnxruntime can quantise."""
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
PASSING = ("MaxPool",)
"""Operators that pick from what they are given: on the grid of their input they round nothing, and need no way to float and back.

A grid of their own, whose percentile is another, would cost them a DequantizeLinear before and a QuantizeLinear behind.
"""
EXCLUDED, OF_ACTIVATIONS, AFTER_SOFTMAX = "excluded", "product of activations", "behind a softmax"
"""Why a node stays float."""


def refuse_unknown(operators: Sequence[str], path: str) -> None:
    """Refuse names of operators that onnxruntime cannot quantise.

    Raises:
        ExportError: with those that it can.
    """
    if unknown := sorted(set(operators) - KNOWN):
        raise ExportError(
            f"{path}.operators: onnxruntime cannot quantise {', '.join(unknown)}. It can: {', '.join(sorted(KNOWN))}."
        )


class StaticWriter:
    """One float file, cleaned, whose nodes have names.

    Args:
        source: the float file; left as it is.
        folder: where the cleaned file may lie; it must outlive the writer.
        config: options of static int8.
        path: where the quantizer stands in the recipe, for messages.

    Raises:
        ExportError: if the file cannot be read, or the options name what it has not.
    """

    def __init__(self, source: Path, folder: Path, config: StaticConfig, path: str) -> None:
        self._config, self._path = config, path
        self._clean = folder / "clean.onnx"
        self._ranges: TensorsData | None = None
        self.model = preprocessed(source, self._clean)
        self.operators = self._operators(facts(self.model).nodes)
        self.reasons = self._reasons()
        self.excluded = list(self.reasons)
        passing = PASSING if config.operators == "weighted" else ()
        self._looked_at = list(dict.fromkeys([*self.operators, *CLAMPS, *passing]))
        """Operators whose tensors are measured and rounded."""

    def candidates(self) -> list[str]:
        """Names of the nodes that may become int8, in the order of the graph."""
        left = set(self.excluded)
        return [node.name for node in self.model.graph.node if node.op_type in self.operators and node.name not in left]

    def write(self, target: Path, calibration: Calibration, excluded: Sequence[str]) -> None:
        """Write an int8 file in which the nodes called `excluded` stay float.

        Raises:
            ExportError: if onnxruntime cannot do it, or if no node is left: onnxruntime would not refuse that.
        """
        if not set(self.candidates()) - set(excluded):
            raise ExportError(f"{self._path}.exclude: every node that could become int8 is excluded.")
        config = self._config
        try:
            with quiet():
                quantizer = QDQQuantizer(
                    with_shapes(self._clean),
                    config.per_channel,
                    config.reduce_range,
                    QuantType.QInt8,
                    QuantType.QUInt8 if config.activation == "uint8" else QuantType.QInt8,
                    self._ranges_of(calibration),
                    [],
                    [*excluded, *shared(self.model)],
                    self._looked_at,
                    {"ActivationSymmetric": config.is_symmetric, "QDQKeepRemovableActivations": True},
                )
                quantizer.quantize_model()
                round_behind(quantizer.model.model)
                del quantizer.model.model.graph.value_info[:]  # shapes are inferred again where they are wanted
                quantizer.model.save_model_to_file(str(target), False)
        except ExportError:
            raise
        except Exception as error:  # whatever a graph makes onnxruntime stumble over
            raise ExportError(f"{self._path}: onnxruntime cannot quantise the graph ({error}).") from error

    def _ranges_of(self, calibration: Calibration) -> TensorsData:
        """The ranges, measured for the first file; onnxruntime changes what it is given. A layer has those of the clamp behind it."""
        if self._ranges is None:
            config = self._config
            options = RangeOptions(method=config.ranges, percentile=config.percentile, chunk=config.batch)
            self._ranges = activation_ranges(self._clean, self._looked_at, calibration, options)
            for before, behind in clamped(self.model).items():
                if before in self._ranges and behind in self._ranges:
                    self._ranges[before] = self._ranges[behind]
        return copy.deepcopy(self._ranges)

    def _reasons(self) -> dict[str, str]:
        """Nodes that stay float, in order, each with the first reason for it.

        Quantising what reads a softmax lets onnxruntime fuse QLinearSoftmax, whose kernel wraps a probability above the
        calibrated range to 0 instead of saturating: a ViT fell to cosine 0.6 (ORT 1.31.1; the int8 kernel had the same
        fault, onnxruntime#29727). With "Softmax" among the operators the range is 0..1 and nothing lies above it.
        """
        found = dict.fromkeys(named_nodes(self.model, tuple(self._config.exclude), self._path), EXCLUDED)
        if self._config.operators == "weighted":
            found = dict.fromkeys(activation_products(self.model), OF_ACTIVATIONS) | found
        if "Softmax" not in self.operators:
            found = dict.fromkeys(softmax_readers(self.model), AFTER_SOFTMAX) | found
        return found

    def _operators(self, present: Any) -> list[str]:
        chosen = self._config.operators
        if isinstance(chosen, str):
            wanted = sorted(KNOWN) if chosen == "all" else list(WEIGHTED)
        else:
            wanted = chosen
            refuse_unknown(chosen, self._path)
        operators = [name for name in wanted if present[name]]
        if not operators:
            raise ExportError(f"{self._path}.operators: the graph has none of {', '.join(wanted)}.")
        return operators
