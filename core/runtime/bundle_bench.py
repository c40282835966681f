"""What a bundle's artefacts cost on this machine: latency, throughput, memory, size.

Inputs are noise: the time of these networks does not depend on what an image shows. Accuracy is `edgefw verify`'s. An
artefact that does not open here, or whose runtime is not installed, has a row that says so, behind the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.errors import BundleError
from edgefw.runtime.benchmark import time_interleaved
from edgefw.runtime.memory import peak_memory
from edgefw.runtime.opening import Opener

if TYPE_CHECKING:
    from edgefw.registry.loading import Registry
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.manifest import ArtefactEntry


_NO_MEMORY: Mapping[str, Any] = {"memory_mib": None, "memory_why": None}


def bench_bundle(
    bundle: Bundle,
    *,
    registry: Registry | None = None,
    batch: int = 8,
    threads: int | None = None,
    seconds: float = 3.0,
    memory: bool = True,
) -> list[dict[str, Any]]:
    """One row per artefact, fastest first; those that cannot be opened come last.

    Args:
        bundle: opened.
        registry: where backends come from; None reads what is installed.
        batch: images per call for the throughput.
        threads: CPU threads of each session; None: the artefact's own option.
        seconds: of timing per artefact and batch size.
        memory: start a fresh process per artefact to see what it takes.

    Returns:
        name, precision, bytes, latency_ms_p50, latency_ms_p95 (batch 1), images_per_second (at `batch`), memory_mib, memory_why
        (why that one is None), and `why` nothing was measured, else None.

    Raises:
        BundleError: if none of them can be opened.
    """
    opened = Opener(bundle, registry).runners(threads)
    runners, closed = opened.runners, {**opened.missing, **opened.refused}
    if not runners:
        reasons = "".join(f"\n  {name}: {why}" for name, why in closed.items())
        raise BundleError(f"{bundle.source}: no artefact can be opened here.{reasons}")
    entries = [entry for entry in bundle.manifest.artefacts if entry.name in runners]
    rng = np.random.default_rng(0)
    images = {
        entry.name: {key: rng.normal(size=(batch, *shape)).astype(np.float32) for key, shape in entry.inputs.items()}
        for entry in entries
    }
    alone = {name: [{key: value[:1] for key, value in feeds.items()}] for name, feeds in images.items()}
    single = time_interleaved(runners, alone, seconds * len(runners))
    many = time_interleaved(runners, {name: [feeds] for name, feeds in images.items()}, seconds * len(runners), least=5)
    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "precision": entry.precision,
            "bytes": entry.bytes,
            "latency_ms_p50": single[entry.name].p50_ms,
            "latency_ms_p95": single[entry.name].p95_ms,
            "images_per_second": 1000.0 * batch / many[entry.name].p50_ms,
            **(memory_numbers(bundle, entry, batch, threads) if memory else _NO_MEMORY),
            "why": None,
        }
        for entry in entries
    ]
    unmeasured = [_unmeasured(entry, closed[entry.name]) for entry in bundle.manifest.artefacts if entry.name in closed]
    return [*sorted(rows, key=lambda row: float(row["latency_ms_p50"])), *unmeasured]


def _unmeasured(entry: ArtefactEntry, why: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("latency_ms_p50", "latency_ms_p95", "images_per_second"))
    stated = {"name": entry.name, "precision": entry.precision, "bytes": entry.bytes}
    return {**stated, **numbers, **_NO_MEMORY, "why": why}


def memory_numbers(bundle: Bundle, entry: ArtefactEntry, batch: int, threads: int | None) -> dict[str, Any]:
    """{memory_mib, memory_why}: what opening an artefact and running it takes at the highest, or why that is not known."""
    found = peak_memory(entry.backend, entry.options, bundle.file(entry), entry.inputs, batch, threads)
    return {"memory_mib": found.mib, "memory_why": found.why or None}
