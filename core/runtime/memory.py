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
from pathlib import Path

_PROBE = """
import json, sys
from edgefw.runtime.memory import probe
print(json.dumps(probe(*json.loads(sys.argv[1]))))
"""
_PATIENCE_S = 120


def growth_mib(bundle: Path, artefact: str, batch: int, threads: int | None) -> float | None:
    """MiB by which opening and running an artefact raises the memory of a fresh process; None if unknown."""
    arguments = json.dumps([str(bundle), artefact, batch, threads])
    try:
        result = subprocess.run(
            [sys.executable, "-c", _PROBE, arguments], capture_output=True, text=True, check=True, timeout=_PATIENCE_S
        )
        value = json.loads(result.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return None
    return None if value is None else float(value)


def probe(bundle: str, artefact: str, batch: int, threads: int | None) -> float | None:
    """What the fresh process does: open, run once on zeros, compare."""
    import numpy as np

    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.opening import Opener

    with open_bundle(Path(bundle)) as opened:
        entry = opened.artefact(artefact)
        opener = Opener(opened)
        backend = opener.backend(entry)
        feeds = {name: np.zeros((batch, *shape), np.float32) for name, shape in entry.inputs.items()}
        _import_runtime(entry.backend)
        before = _resident_mib()
        runner = backend.open(opened.file(entry), threads)
        runner.run(feeds)
        after = _resident_mib()
    return None if before is None or after is None else after - before


def _import_runtime(backend: str) -> None:
    """Count the model, not the import of its runtime."""
    from importlib import import_module
    from importlib.util import find_spec

    if find_spec(backend.replace("-", "_")) is not None:
        import_module(backend.replace("-", "_"))


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
