"""`metrics.jsonl` of a phase: one JSON line per logged step and per validation, and per epoch of a sampler that reports.

    {"phase", "step", "epoch", "loss", "losses": {name: value}, "lr", "gradient_norm", "seconds"}
    {"phase", "step", "validation": {name: value}}
    {"phase", "step", "epoch", "sampler": {name: value}}

Lines are written as they come. A checkpoint remembers how long the file was, and a resumed run cuts it back to that,
so that no step stands in it twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class MetricsLog:
    """An open metrics file.

    Args:
        path: the file; made if missing.
        phase: name of the phase, in every line.
        length: bytes to keep; what stands after them is cut off.
    """

    def __init__(self, path: Path, phase: str, length: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._file.truncate(length)
        self._phase = phase

    def step(
        self,
        step: int,
        epoch: int,
        loss: float,
        losses: Mapping[str, float],
        facts: Mapping[str, float],
    ) -> None:
        """Write a logged step; `facts` are further numbers ("lr", "seconds")."""
        self._write({"step": step, "epoch": epoch, "loss": loss, "losses": dict(losses), **facts})

    def validation(self, step: int, values: Mapping[str, float]) -> None:
        """Write a validation."""
        self._write({"step": step, "validation": dict(values)})

    def sampler(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Write what the sampler says of an epoch that begins after `step` steps."""
        self._write({"step": step, "epoch": epoch, "sampler": dict(values)})

    def sync(self) -> int:
        """Flush to the disk; the length of the file in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps({"phase": self._phase, **line}).encode() + b"\n")
        self._file.flush()
