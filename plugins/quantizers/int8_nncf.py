"""Static int8 by NNCF, controlled by its accuracy, within a time budget.

Affine quantisation (Jacob et al. 2018, arXiv:1712.05877, section 2.1) with NNCF's ranges, its propagation of roundings through the graph, and its correction of
biases (Nagel et al. 2019, arXiv:1906.04721, section 4.2). With `transformer: true` also SmoothQuant (Xiao et al. 2023, arXiv:2211.10438): a channel's range
moves from activations into weights. If embeddings then stray too far from the float file's, parts go back to float, worst first, until they do not, or
`seconds` are over. NNCF's own accuracy control does the same without a clock, and hands nothing over before it ends, so the search is ours
(`float_again`); it is judged by the cosine on calibration samples, never on test samples. NNCF's usage statistics are kept off.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

import edgefw
from edgefw.contracts.quantizer import Calibration, QuantizationReport
from edgefw.errors import ExportError, MissingDependency

if TYPE_CHECKING:
    from edgefw.plugins.quantizers.float_again import Found
    from edgefw.plugins.quantizers.nncf_graph import Rounding
    from edgefw.registry.technique import Register

INSTALL = 'pip install "edgefw[nncf,train]"'
FEW = 16
"""Samples on which parts are ranked."""


class NncfConfig(edgefw.TechniqueConfig):
    """Options of int8 by NNCF."""

    min_cosine: float = Field(
        default=0.995, gt=0.0, lt=1.0, description="mean cosine to the float file that calibration samples keep"
    )
    seconds: float = Field(default=300.0, ge=0.0, description="time for giving parts back to float; 0: never")
    zero_point: Literal["affine", "symmetric"] = Field(
        default="affine", description="affine: activations in their range as measured; symmetric: around 0"
    )
    bias_correction: bool = Field(default=True, description="biases make up for the mean error of int8 weights")
    transformer: bool = Field(default=False, description="NNCF's patterns for transformers, and SmoothQuant")
    exclude: list[str] = Field(default=[], description="shell patterns of node names that stay float")


class Int8Nncf:
    """Level "onnx"."""

    level = "onnx"
    precision = "int8-nncf"

    def __init__(self, config: NncfConfig, path: str) -> None:
        self._config = config
        self._path = path
        self.activations = "uneven" if config.zero_point == "affine" else None  # else NNCF decides by what it sees

    def quantize(self, source: Path, target: Path, calibration: Calibration) -> QuantizationReport:
        """Write `target`; the first int8 file is made whatever time it takes.

        Raises:
            ExportError: if NNCF cannot quantise the graph, every part went back to float, or the file does not shrink.
            MissingDependency: if nncf is not installed.
        """
        import onnx

        from edgefw.plugins.quantizers.float_again import Search, float_layers, parts
        from edgefw.plugins.quantizers.nncf_graph import Judge, rounded_graph
        from edgefw.plugins.quantizers.onnx_graph import named_nodes, preprocessed, quiet

        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            model = preprocessed(source, Path(folder) / "clean.onnx")
        excluded = named_nodes(model, tuple(self._config.exclude), self._path)
        try:
            with quiet():
                rounded = rounded_graph(model, calibration, self._rounding(excluded))
        except ImportError as error:
            raise MissingDependency(f"{self._path}: int8-nncf needs {error.name}. Run: {INSTALL}") from error
        except ExportError:
            raise
        except Exception as error:  # whatever a graph makes NNCF stumble over
            raise ExportError(f"{self._path}: NNCF cannot quantise the graph ({error}).") from error
        judge, begun = Judge(model, calibration, FEW), time.monotonic()
        search = Search(
            source=model,
            few=judge.some,
            all=judge.all,
            wanted=self._config.min_cosine,
            time_left=lambda: time.monotonic() - begun < self._config.seconds,
            time_to_rank=lambda: time.monotonic() - begun < self._config.seconds / 2,
        )
        found = search.run(rounded)
        self._refuse_float(found)
        onnx.save(found.model, target)
        numbers = {
            "parts": len(parts(rounded)),
            "samples": calibration.samples,
            "float_layers": float_layers(found, model),
        }
        times = {"seconds_taken": round(time.monotonic() - started, 1), "seconds_first_file": round(begun - started, 1)}
        return self._report(source, target, found, {**numbers, **times})

    def _rounding(self, excluded: list[str]) -> Rounding:
        from edgefw.plugins.quantizers.nncf_graph import Rounding

        config = self._config
        return Rounding(
            affine=config.zero_point == "affine",
            correct_biases=config.bias_correction,
            transformer=config.transformer,
            excluded=excluded,
        )

    def _refuse_float(self, found: Found) -> None:
        """A graph without a rounding is no int8 file."""
        if not any(node.op_type == "QuantizeLinear" for node in found.model.graph.node):
            raise ExportError(
                f"{self._path}: every part went back to float to reach min_cosine {self._config.min_cosine:g}, "
                "so nothing is int8. Lower min_cosine, or remove the quantizer."
            )

    def _report(self, source: Path, target: Path, found: Found, numbers: dict[str, Any]) -> QuantizationReport:
        before, after = source.stat().st_size, target.stat().st_size
        if after >= before:
            raise ExportError(f"{self._path}: int8-nncf made the file larger ({before} to {after} bytes).")
        details = {
            **self._config.model_dump(),
            **numbers,
            "cosine": round(found.cosine, 6),
            "out_of_time": found.out_of_time,
            "bytes_before": before,
            "bytes_after": after,
        }
        warnings = (*self._warnings(found, numbers["parts"]), *self._late(numbers))
        return QuantizationReport(details=details, warnings=warnings)

    def _late(self, numbers: Mapping[str, float]) -> tuple[str, ...]:
        """That the whole took longer than `seconds`, which bounds the search alone."""
        taken, first, allowed = numbers["seconds_taken"], numbers["seconds_first_file"], self._config.seconds
        if not 0 < allowed < taken:
            return ()
        told = (
            f"int8-nncf: took {taken:g} s, and `seconds` is {allowed:g}: {first:g} s of it went to NNCF's own work on the first file, "
            "which is not cut short. A smaller export.calibration or bias_correction: false makes that shorter."
        )
        return (told,)

    def _warnings(self, found: Found, parts: int) -> tuple[str, ...]:
        if found.cosine >= self._config.min_cosine:
            return ()
        reason = (
            f"{self._config.seconds:g} seconds were over; give more with `seconds`"
            if found.out_of_time
            else "more parts in float did not help"
        )
        told = (
            f"int8-nncf: cosine {found.cosine:.4f} on calibration samples is below {self._config.min_cosine:g} with "
            f"{len(found.parts)} of {parts} parts in float: {reason}. This is the best file found."
        )
        return (told,)


def build(config: NncfConfig, context: edgefw.BuildContext) -> Int8Nncf:
    """The quantizer; nothing is read yet."""
    return Int8Nncf(config, context.path or "int8-nncf")


@edgefw.hookimpl
def edgefw_register_quantizers(register: Register) -> None:
    """Offer `int8-nncf`."""
    register(
        edgefw.Technique(
            name="int8-nncf",
            config=NncfConfig,
            build=build,
            provides=frozenset({"onnx"}),
            needs=frozenset({"backend.onnx"}),
            requires=("nncf", "onnx", "onnxruntime"),
            install=INSTALL,
            paper="arXiv:1712.05877",
        )
    )
