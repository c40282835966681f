"""What artefacts cost: latency turn by turn, how a quantised file stands to its source, how much of it is int8, memory.

It measures opened files; the budget is held by others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.backend import WorkCounter, float_precision, session_threads
from edgefw.contracts.operators import rounds_activations
from edgefw.runtime.benchmark import Feeds, slowdown, time_interleaved
from edgefw.runtime.memory import peak_memory
from edgefw.stages.float_twin import float_twins
from edgefw.stages.verify_models import single_feeds
from edgefw.stages.verify_numbers import FLOAT

if TYPE_CHECKING:
    from edgefw.runtime.benchmark import Latency
    from edgefw.stages.context import StageContext
    from edgefw.stages.opened import OpenArtefact
    from edgefw.stages.trained import Trained

Images = Mapping[str, Mapping[str, np.ndarray]]
_TIMED = 8
"""So many images take turns."""
_SECONDS_EACH = 0.5
"""Timing per artefact at batch 1, and 20 calls at least."""


def costs(
    context: StageContext, trained: Trained, artefacts: Sequence[OpenArtefact], inputs: Images
) -> dict[str, dict[str, Any]]:
    """Name -> {latency_ms_p50, latency_ms_p95, latency_calls, slowdown, float_ms_p50, int8_share, memory_mib, memory_why, precision,
    warnings}.

    `slowdown` is the p50 over that of the float source, or of a float twin (`float_twin.py`), which is `float_ms_p50`; both are None for
    what has neither here. `int8_share` is None for float files and where the file does not tell; `precision` is "fp32" where a file
    whose quantizer rounds activations has no product in int8.

    Args:
        context: the run.
        trained: its student.
        artefacts: opened.
        inputs: held-out images by role.
    """
    shown = {own.name: _shown(own, inputs) for own in artefacts}
    promised = integer_precisions([trained.quantizer] if trained.quantizer else context.pieces.quantizers)
    feeds: dict[str, list[Feeds]] = {own.name: [*single_feeds(own, shown[own.name])[:_TIMED]] for own in artefacts}
    with float_twins(context, trained, artefacts, shown) as twins:
        runners = {own.name: own.runner for own in artefacts}
        runners |= {_twin_of(name): runner for name, runner in twins.runners.items()}
        feeds |= {_twin_of(name): feeds[name] for name in twins.runners}
        latency = time_interleaved(runners, feeds, seconds=_SECONDS_EACH * len(runners))
        limit = context.recipe.config.verify.max_slowdown
        beside = {own.name: own.record["source"] or _twin_of(own.name) for own in artefacts}
        ratios = {
            name: slowdown(name, other, runners, feeds, latency, limit)
            for name, other in beside.items()
            if other in runners
        }
    return {
        own.name: {
            **_times(own.name, latency, beside[own.name], ratios.get(own.name)),
            **_work(context, own, promised),
            **_memory(context, own.record),
            "warnings": _untimed(twins.absent.get(own.name)),
        }
        for own in artefacts
    }


def _twin_of(name: str) -> str:
    """A key beside the names of artefacts, which have no space."""
    return f"{name} in float"


def _times(name: str, latency: Mapping[str, Latency], beside: str, ratio: float | None) -> dict[str, Any]:
    return {
        "latency_ms_p50": latency[name].p50_ms,
        "latency_ms_p95": latency[name].p95_ms,
        "latency_calls": latency[name].calls,
        "slowdown": ratio,
        "float_ms_p50": None if ratio is None else latency[beside].p50_ms,
    }


def _untimed(reason: str | None) -> list[str]:
    """What a user should know of a file whose float twin could not be made, for that reason."""
    if reason is None:
        return []
    return [f"its slowdown is not known, as there is no float file to time it beside. Without rounding: {reason}"]


def _work(context: StageContext, artefact: OpenArtefact, promised: Collection[str]) -> dict[str, Any]:
    share, stated = _int8_share(context, artefact), artefact.record["precision"]
    return {"precision": FLOAT if share == 0 and stated in promised else stated, "int8_share": share}


def integer_precisions(quantizers: Iterable[Any]) -> frozenset[str]:
    """Precisions that promise integer arithmetic: of quantizers that round activations. "weight-only" promises a smaller file alone."""
    return frozenset(str(quantizer.precision) for quantizer in quantizers if rounds_activations(quantizer))


def _int8_share(context: StageContext, artefact: OpenArtefact) -> float | None:
    """Of what a quantizer made, after training or in it."""
    backend = artefact.backend
    if artefact.record["precision"] == float_precision(backend) or not isinstance(backend, WorkCounter):
        return None
    return backend.int8_share(context.folder.stage("export") / artefact.name / artefact.record["file"])


def _memory(context: StageContext, record: Mapping[str, Any]) -> dict[str, Any]:
    """{memory_mib, memory_why} of opening the file in a fresh process and running it at batch 1."""
    file = context.folder.stage("export") / record["name"] / record["file"]
    threads = session_threads(record["options"], context.recipe.config.compute.threads)
    found = peak_memory(record["backend"], record["options"], file, record["inputs"], threads=threads)
    return {"memory_mib": found.mib, "memory_why": found.why or None}


def _shown(artefact: OpenArtefact, inputs: Images) -> Mapping[str, np.ndarray]:
    """Images of a role that the artefact serves and the held-out samples have."""
    return next((inputs[role] for role in artefact.roles if role in inputs), next(iter(inputs.values())))
