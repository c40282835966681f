"""One `openvino.Core` for the whole process, imported without OpenVINO's telemetry.

OpenVINO's CPU plugin gives the thread that first uses a core a signal stack of its own. When the core ends, it takes that stack
away and puts back the one that it had found, whether that one is still there or not (class SigAltStackSetup of
src/plugins/intel_cpu, seen in OpenVINO 2026.4.1). Of two cores, the older one ended first, the thread is left with a stack that
is gone, and its next signal with a handler in Python, be it Ctrl-C, SIGTERM or the end of a child, ends the process with SIGSEGV.
A single core that stays has no such order. Compiled models are freed with their runners; the core itself keeps little memory.
"""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import Any

from edgefw.runtime.import_without import import_without

_ONE_AT_A_TIME = Lock()


def shared_core() -> Any:
    """The `openvino.Core` of this process; several threads may use it.

    Raises:
        ImportError: if openvino is not installed.
    """
    with _ONE_AT_A_TIME:
        return _core()


def reason(error: Exception) -> str:
    """The first line of OpenVINO's message that is not about its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (own or lines or [type(error).__name__])[0]


@cache
def _core() -> Any:
    return import_without("openvino").Core()
