"""What artefacts cost: latency turn by turn, how a quantised file stands to its source, how much of it is int8, memory.

It measures opened files; the budget is held by others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.backend import WorkCounter, float_precision
from edgefw.runtime.benchmark import Feeds, slowdown, time_interleaved
from edgefw.runtime.memory import peak_memory
from edgefw.stages.verify_models import single_feeds
from edgefw.stages.verify_numbers import FLOAT

if TYPE_CHECKING:
    from edgefw.stages.context import StageContext
    from edgefw.stages.opened import OpenArtefact

Images = Mapping[str, Mapping[str, np.ndarray]]
_SECONDS_EACH = 0.5
"""Timing per artefact at batch 1, and 20 calls at least."""


def costs(context: StageContext, artefacts: Sequence[OpenArtefact], inputs: Images) -> dict[str, dict[str, Any]]:
    """Name -> {latency_ms_p50, latency_ms_p95, latency_calls, slowdown, int8_share, memory_mib, memory_why, precision}.

    `slowdown` is the p50 over the source's, None for what has none here; `int8_share` is None for float files and where the file
    does not tell; `precision` is "fp32" where a file that is called int8 has no product in int8.

    Args:
        context: the run.
        artefacts: opened.
        inputs: held-out images by role.
    """
    feeds: dict[str, list[Feeds]] = {own.name: [*single_feeds(own, _shown(own, inputs))] for own in artefacts}
    runners = {own.name: own.runner for own in artefacts}
    latency = time_interleaved(runners, feeds, seconds=_SECONDS_EACH * len(runners))
    limit = context.recipe.config.verify.max_slowdown
    found = {}
    for own in artefacts:
        source, time = own.record["source"], latency[own.name]
        share = _int8_share(context, own)
        found[own.name] = {
            "precision": FLOAT if share == 0 and says_int8(own.record["precision"]) else own.record["precision"],
            "latency_ms_p50": time.p50_ms,
            "latency_ms_p95": time.p95_ms,
            "latency_calls": time.calls,
            "slowdown": slowdown(own.name, source, runners, feeds, latency, limit) if source in runners else None,
            "int8_share": share,
            **_memory(context, own.record),
        }
    return found


def says_int8(precision: str) -> bool:
    """Whether a precision promises int8 arithmetic; "weight-only" promises a smaller file alone."""
    return precision.startswith("int8")


def _int8_share(context: StageContext, artefact: OpenArtefact) -> float | None:
    """Of what a quantizer made, after training or in it."""
    backend = artefact.backend
    if artefact.record["precision"] == float_precision(backend) or not isinstance(backend, WorkCounter):
        return None
    return backend.int8_share(context.folder.stage("export") / artefact.name / artefact.record["file"])


def _memory(context: StageContext, record: Mapping[str, Any]) -> dict[str, Any]:
    """{memory_mib, memory_why} of opening the file in a fresh process and running it at batch 1."""
    file = context.folder.stage("export") / record["name"] / record["file"]
    threads = context.recipe.config.compute.threads
    found = peak_memory(record["backend"], record["options"], file, record["inputs"], threads=threads)
    return {"memory_mib": found.mib, "memory_why": found.why or None}


def _shown(artefact: OpenArtefact, inputs: Images) -> Mapping[str, np.ndarray]:
    """Images of a role that the artefact serves and the held-out samples have."""
    return next((inputs[role] for role in artefact.roles if role in inputs), next(iter(inputs.values())))
