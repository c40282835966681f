"""Import a package as if another one that it would take along were not installed.

Some runtimes import a telemetry package beside themselves, which starts a thread, forks, and sends usage statistics without
asking. A camera must not do any of it. It knows names of modules, and what none of them is for.
"""

from __future__ import annotations

import importlib
import sys
from threading import RLock
from typing import Any

TELEMETRY = "openvino_telemetry"
"""What OpenVINO and NNCF report with."""
_ONE_AT_A_TIME = RLock()


def import_without(name: str, absent: str = TELEMETRY) -> Any:
    """The module `name`, imported while `absent` cannot be; it can again afterwards.

    A module that the process has imported already is handed over as it is.

    Raises:
        ImportError: if `name` is not installed, or cannot do without `absent`.
    """
    with _ONE_AT_A_TIME:
        known, held = absent in sys.modules, sys.modules.get(absent)
        sys.modules[absent] = None  # type: ignore[assignment]
        try:
            return importlib.import_module(name)
        finally:
            sys.modules.pop(absent, None)
            if known:
                sys.modules[absent] = held  # type: ignore[assignment]
