"""Static int8 of an ONNX file, but for the layers that it makes slower.

Int8 makes a network smaller, and on many processors slower: without VNNI, in depthwise convolutions, where values are converted back and
forth. So nodes of one shape form a group, and files with a group in int8 and in float are timed beside each other, in the
runtime, with the options and the threads of the device's file. The search begins at the faster one of the file all in
float and the file all in int8, and a group changes sides where that makes the whole file faster beyond noise (95 % interval of the median
ratio of calls in turn). So a group that makes no difference beyond noise, or that there was no time for, is int8 where the search came
from the file all in int8. Groups are then taken out, the worst first, until the mean cosine to the float file is at least `min_cosine` on
every modality, and the outcome is timed against the float file once more: if it is not faster, or by less than `least_gain`, there is
no int8 file, and the report says so. The arithmetic is that of `int8-static`; the search is our own, a coordinate descent.
It looks at latency at batch 1 on this machine, not at memory or energy, nor at another processor.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

import edgefw
from edgefw.contracts.quantizer import Calibration, QuantizationReport
from edgefw.errors import ExportError
from edgefw.plugins.quantizers.int8_static import StaticConfig, check_operators

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.plugins.quantizers.latency_outcome import Outcome
    from edgefw.plugins.quantizers.latency_search import Labels, Timing
    from edgefw.plugins.quantizers.latency_trials import Trials
    from edgefw.registry.technique import Register

_FINAL_SECONDS, _FINAL_ROUNDS = 3.0, 31
_OUT_OF_TIME = (
    "int8 is not accurate enough, and time was out before what hurts was found; give the quantizer more seconds"
)


class LatencyAwareConfig(StaticConfig):
    """Options of latency-aware int8: those of static int8, and the search's."""

    seconds: float = Field(
        default=120.0,
        gt=0.0,
        description="for timing groups, and as long again for finding those that hurt, where accuracy does not suffice",
    )
    min_cosine: float = Field(
        default=0.992,
        ge=0.0,
        le=1.0,
        description="smallest mean cosine to the float file, of the worst modality, on samples that ranges do without",
    )
    least_gain: float = Field(
        default=0.03,
        ge=0.0,
        lt=1.0,
        description="share of the float file's time that the whole file must save; accuracy is not given away for less",
    )


class Int8LatencyAware:
    """Level "onnx", timed."""

    level = "onnx"
    precision = "int8-latency-aware"

    def __init__(self, config: LatencyAwareConfig, path: str, say: Callable[[str], None]) -> None:
        self._config, self._path, self._say = config, path, say

    def quantize_timed(
        self, source: Path, target: Path, calibration: Calibration, opened: Callable[[Path], Runner]
    ) -> QuantizationReport:
        """Write `target`, unless nothing is faster in int8: then the report's `stays_float` says that there is none.

        Raises:
            ExportError: if nothing can be quantised.
        """
        from edgefw.plugins.quantizers.latency_trials import Trials
        from edgefw.plugins.quantizers.operator_groups import operator_groups
        from edgefw.plugins.quantizers.static_writer import StaticWriter

        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            writer = StaticWriter(source, Path(folder), self._config, self._path)
            groups = operator_groups(writer.model, writer.candidates())
            if not groups:
                raise ExportError(f"{self._path}.exclude: every node that could become int8 is excluded.")
            self._say(
                f"timing {len(groups)} groups of layers in float and int8, for {self._config.seconds:g} s at most; "
                "as long again at most where int8 has to be made more accurate"
            )
            trials = Trials(source, Path(folder), writer, groups, calibration, opened)
            outcome = self._search(trials, target)
        details = {
            **self._config.model_dump(),
            "operators": writer.operators,
            "excluded_nodes": len(writer.excluded),
            "samples": trials.ranges.samples,
            "judged_samples": len(trials.held.rows),
            "bytes_before": source.stat().st_size,
            "bytes_after": None if outcome.stays_float else target.stat().st_size,
            "choices": outcome.rows(),
            "whole_file": outcome.whole_file(),
            "search_seconds": round(time.monotonic() - began, 1),
            "comparisons": trials.comparisons,
        }
        warnings = outcome.warnings(self._config.seconds)
        return QuantizationReport(details=details, warnings=warnings, stays_float=outcome.stays_float)

    def _search(self, trials: Trials, target: Path) -> Outcome:
        from edgefw.plugins.quantizers.latency_outcome import Outcome
        from edgefw.plugins.quantizers.latency_search import Search, without_the_worst
        from edgefw.plugins.quantizers.operator_groups import left_in_float

        labels = [group.label for group in trials.groups]
        trials.prepare()
        search = Search(labels, trials.compare, self._clock())
        found = search.run()
        hurting = without_the_worst(found, trials.cosine, self._config.min_cosine, self._clock(), self._say)
        left = found.difference(hurting.taken)
        timing, whole = (
            _delivered(trials, left, target, self._config.least_gain) if hurting.is_enough else (None, _OUT_OF_TIME)
        )
        return Outcome(
            groups=trials.groups,
            others=left_in_float(trials.writer.model, trials.writer.candidates(), trials.writer.reasons),
            choices=search.choices,
            hurting=hurting.taken,
            labels=left,
            timing=timing,
            whole=whole,
            min_cosine=self._config.min_cosine,
        )

    def _clock(self) -> Callable[[], bool]:
        """Whether `seconds` from now are over."""
        deadline = time.monotonic() + self._config.seconds
        return lambda: time.monotonic() >= deadline


def _delivered(trials: Trials, labels: Labels, target: Path, least_gain: float) -> tuple[Timing | None, str]:
    """Write the file, if it is faster than the float file and smaller; else (its timing, why it is not written)."""
    if not labels:
        return None, ""
    timing = trials.compare(labels, frozenset(), _FINAL_SECONDS, _FINAL_ROUNDS)
    if why := _too_slow(timing, least_gain):
        return timing, why
    trials.write(labels, target)
    if target.stat().st_size < trials.source.stat().st_size:
        return timing, ""
    target.unlink()
    return timing, "the file as a whole is not smaller than in float"


def _too_slow(timing: Timing, least_gain: float) -> str:
    """Why the whole file is not worth it; empty if it is."""
    from edgefw.plugins.quantizers.latency_search import FASTER

    took = f"the file as a whole takes {timing.ratio:.2f} times as long as in float"
    if timing.verdict != FASTER:
        return f"{took}, which is not faster beyond noise"
    return f"{took}, which saves less than least_gain ({least_gain:g})" if timing.ratio > 1 - least_gain else ""


def build(config: LatencyAwareConfig, context: edgefw.BuildContext) -> Int8LatencyAware:
    """The quantizer; nothing is read yet.

    Raises:
        ExportError: if `operators` names one that onnxruntime cannot quantise.
    """
    path = context.path or "int8-latency-aware"
    check_operators(config, path)
    return Int8LatencyAware(config, path, context.say)


@edgefw.hookimpl
def edgefw_register_quantizers(register: Register) -> None:
    """Offer `int8-latency-aware`."""
    register(
        edgefw.Technique(
            name="int8-latency-aware",
            config=LatencyAwareConfig,
            build=build,
            provides=frozenset({"onnx", "timed"}),
            needs=frozenset({"backend.runs-onnx"}),
            requires=("onnx", "onnxruntime"),
            install='pip install "edgefw[train]"',
            paper="arXiv:1712.05877",
        )
    )
