"""What a bundle's artefacts cost on this machine: latency, throughput, memory, size.

Inputs are noise: the time of these networks does not depend on what an image shows. Accuracy is `edgefw verify`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.runtime.benchmark import time_interleaved
from edgefw.runtime.memory import growth_mib
from edgefw.runtime.opening import Opener

if TYPE_CHECKING:
    from edgefw.registry.loading import Registry
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.manifest import ArtefactEntry


def bench_bundle(
    bundle: Bundle,
    *,
    registry: Registry | None = None,
    batch: int = 8,
    threads: int | None = None,
    seconds: float = 3.0,
    memory: bool = True,
) -> list[dict[str, Any]]:
    """One row per artefact, fastest first.

    Args:
        bundle: opened.
        registry: where backends come from; None reads what is installed.
        batch: images per call for the throughput.
        threads: CPU threads of each session; None: the artefact's own option.
        seconds: of timing per artefact and batch size.
        memory: start a fresh process per artefact to see what it takes.

    Returns:
        name, precision, bytes, latency_ms_p50, latency_ms_p95 (batch 1), images_per_second (at `batch`), memory_mib.
    """
    opener, entries = Opener(bundle, registry), bundle.manifest.artefacts
    runners = {entry.name: opener.runner(entry, threads) for entry in entries}
    rng = np.random.default_rng(0)
    images = {
        entry.name: {key: rng.normal(size=(batch, *shape)).astype(np.float32) for key, shape in entry.inputs.items()}
        for entry in entries
    }
    alone = {name: [{key: value[:1] for key, value in feeds.items()}] for name, feeds in images.items()}
    single = time_interleaved(runners, alone, seconds * len(runners))
    many = time_interleaved(runners, {name: [feeds] for name, feeds in images.items()}, seconds * len(runners), least=5)
    rows = [
        {
            "name": entry.name,
            "precision": entry.precision,
            "bytes": entry.bytes,
            "latency_ms_p50": single[entry.name].p50_ms,
            "latency_ms_p95": single[entry.name].p95_ms,
            "images_per_second": 1000.0 * batch / many[entry.name].p50_ms,
            "memory_mib": _memory(bundle, entry, batch, threads) if memory else None,
        }
        for entry in entries
    ]
    return sorted(rows, key=lambda row: float(row["latency_ms_p50"]))


def _memory(bundle: Bundle, entry: ArtefactEntry, batch: int, threads: int | None) -> float | None:
    return growth_mib(entry.backend, entry.options, bundle.file(entry), entry.inputs, batch, threads)
