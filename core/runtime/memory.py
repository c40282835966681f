"""Memory that an artefact takes: a fresh process opens it, runs it, and says how far its memory rose at its highest.

In the process that measures, the runtime's allocators already hold what earlier artefacts left, so its own growth says
nothing; and what is resident afterwards says nothing of a load that needs twice its file for a moment. So a process of its
own is given back what imports left on the heap, the kernel's high-water mark is set back (Linux, `/proc/self/clear_refs`),
the artefact is opened and run, and the mark is read. Memory of a GPU is not in it.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROBE = """
import json, sys
from edgefw.runtime.memory import probe
print(json.dumps(probe(*json.loads(sys.argv[1]))))
"""
_PATIENCE_S = 120
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RUNS = 3
"""ONNX Runtime lays out its memory for good in the second run, from what it saw in the first."""
_SLACK_MIB = 1.0


@dataclass(frozen=True, kw_only=True)
class Memory:
    """MiB at the highest, above what the process had before; None where it is not known, with the reason."""

    mib: float | None
    why: str = ""


def peak_memory(
    backend: str,
    options: Mapping[str, Any],
    file: Path,
    inputs: Mapping[str, Sequence[int]],
    batch: int = 1,
    threads: int | None = None,
) -> Memory:
    """By how much opening and running a compiled file raises the memory of a fresh process, at its highest.

    Args:
        backend: technique that opens it; `options` are that technique's.
        file: the compiled file.
        inputs: graph input -> (C, H, W).
        batch: images in a call.
        threads: CPU threads of the session; None: the backend's own option.
    """
    shapes = {name: [batch, *shape] for name, shape in inputs.items()}
    arguments = json.dumps([backend, dict(options), str(file), shapes, threads])
    command = [sys.executable, "-c", _PROBE, arguments]
    try:
        result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return Memory(mib=None, why=f"the process that measures it took more than {_PATIENCE_S} s")
    except OSError as error:
        return Memory(mib=None, why=f"no process could be started ({error})")
    if result.returncode:
        return Memory(
            mib=None, why=f"the process that measures it failed ({_last(result.stderr) or result.returncode})"
        )
    try:
        return Memory(**json.loads(_last(result.stdout)))
    except (ValueError, TypeError):
        return Memory(mib=None, why=f"the process that measures it gave no number but '{_last(result.stdout)}'")


def probe(
    backend: str, options: Mapping[str, Any], file: str, shapes: Mapping[str, Sequence[int]], threads: int | None
) -> dict[str, Any]:
    """What the fresh process does: open, run on ones, read the mark; as keywords of `Memory`."""
    import numpy as np

    from edgefw.registry.kinds import Kind
    from edgefw.registry.loading import Registry
    from edgefw.registry.technique import BuildContext

    technique = Registry().load(Kind.BACKEND, backend)
    opener = technique.build(technique.config.model_validate(dict(options)), BuildContext())
    feeds = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    _import_runtimes(technique.requires)
    before = restart_peak()
    if isinstance(before, str):
        return {"mib": None, "why": before}
    runner = opener.open(Path(file), threads)
    for _ in range(_RUNS):
        runner.run(feeds)
    return {"mib": status_mib("VmHWM") - before}


def restart_peak() -> float | str:
    """Set this process's high-water mark back to what it holds now; gives that in MiB, or why it cannot be done."""
    if not _STATUS.is_file():
        return "only Linux tells the peak of a part of a process"
    _trim()
    try:
        _RESET.write_text("5")
    except OSError as error:
        return f"this system does not let a process set its peak back ({error.strerror})"
    now, peak = status_mib("VmRSS"), status_mib("VmHWM")
    return now if peak - now < _SLACK_MIB else "this system does not set the peak of a process back when asked to"


def status_mib(key: str) -> float:
    """`VmRSS` (resident now) or `VmHWM` (at the highest) of this process, MiB."""
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))


def _trim() -> None:
    """Give freed memory back to the system: a load that took it from the heap would seem to need none."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return


def _import_runtimes(packages: Sequence[str]) -> None:
    """Count the model, not the import of its runtime."""
    from importlib.util import find_spec

    from edgefw.runtime.import_without import import_without

    for package in packages:
        if find_spec(package) is not None:
            import_without(package)


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
