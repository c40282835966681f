"""Memory that an artefact takes: a fresh process opens it, runs it, and says by how much it grew.

In the process that measures, the runtime's allocators already hold what earlier artefacts left, so its own growth says
nothing. Counted is resident memory while the artefact is open and has run, less that before it was opened; where the
system does not tell (no `/proc`), the growth of the peak, and None where that is not told either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PROBE = """
import json, sys
from edgefw.runtime.memory import probe
print(json.dumps(probe(*json.loads(sys.argv[1]))))
"""
_PATIENCE_S = 120


def growth_mib(
    backend: str,
    options: Mapping[str, Any],
    file: Path,
    inputs: Mapping[str, Sequence[int]],
    batch: int = 1,
    threads: int | None = None,
) -> float | None:
    """MiB by which opening and running a compiled file raises the memory of a fresh process; None if unknown.

    Args:
        backend: technique that opens it; `options` are that technique's.
        file: the compiled file.
        inputs: graph input -> (C, H, W).
        batch: images in the one call.
        threads: CPU threads of the session; None: the backend's own option.
    """
    shapes = {name: [batch, *shape] for name, shape in inputs.items()}
    arguments = json.dumps([backend, dict(options), str(file), shapes, threads])
    try:
        result = subprocess.run(
            [sys.executable, "-c", _PROBE, arguments], capture_output=True, text=True, check=True, timeout=_PATIENCE_S
        )
        value = json.loads(result.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return None
    return None if value is None else float(value)


def probe(
    backend: str, options: Mapping[str, Any], file: str, shapes: Mapping[str, Sequence[int]], threads: int | None
) -> float | None:
    """What the fresh process does: open, run once on zeros, compare."""
    import numpy as np

    from edgefw.registry.kinds import Kind
    from edgefw.registry.loading import Registry
    from edgefw.registry.technique import BuildContext

    technique = Registry().load(Kind.BACKEND, backend)
    opener = technique.build(technique.config.model_validate(dict(options)), BuildContext())
    feeds = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    _import_runtimes(technique.requires)
    before = _resident_mib()
    runner = opener.open(Path(file), threads)
    runner.run(feeds)
    after = _resident_mib()
    return None if before is None or after is None else after - before


def _import_runtimes(packages: Sequence[str]) -> None:
    """Count the model, not the import of its runtime."""
    from importlib.util import find_spec

    from edgefw.runtime.import_without import import_without

    for package in packages:
        if find_spec(package) is not None:
            import_without(package)


def _resident_mib() -> float | None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError, IndexError, AttributeError):
        return _peak_mib()


def _peak_mib() -> float | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
