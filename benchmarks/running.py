"""What the drivers of benchmark tables have in common: `edgefw` in a process of its own, cells that are finished, the machine.

Scripts in the folders beside this file use it. It knows no table.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

MARK = "cell.json"
SAME_KERNELS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}
"""Torch, oneDNN and MKL then take the same kernels on every x86 processor of the last ten years."""


def quiet_environment(own: Mapping[str, object]) -> dict[str, str]:
    """This process's environment on one thread, with first-party techniques only and no model hub, and `own` on top."""
    fixed = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "EDGEFW_PLUGINS": ""}
    return dict(os.environ) | fixed | {name: str(value) for name, value in own.items()}


def with_same_kernels() -> None:
    """Start this process again where kernels would be chosen by the processor, so that sums come out alike on another one."""
    if any(os.environ.get(name) != value for name, value in SAME_KERNELS.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], dict(os.environ) | SAME_KERNELS)


def edgefw(environment: dict[str, str], *arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command; `quiet` keeps what it prints."""
    command = [sys.executable, "-m", "edgefw", *arguments]
    return subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE if quiet else None, check=False)


def installed_techniques(environment: dict[str, str]) -> set[tuple[str, str]]:
    """(kind, name) of every technique that is there."""
    listed = json.loads(edgefw(environment, "list-plugins", "--json", quiet=True).stdout)
    return {(plugin["kind"], plugin["name"]) for plugin in listed}


def is_finished(run: Path, digest: str) -> bool:
    """Whether a cell's run ended with what the cell is now."""
    mark = run / MARK
    return mark.is_file() and json.loads(mark.read_text(encoding="utf-8"))["digest"] == digest


def finish(run: Path, digest: str) -> None:
    """Say that a cell's run is done."""
    (run / MARK).write_text(json.dumps({"digest": digest}) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Processor, system, threads and torch, for the record."""
    return {"cpu": _processor(), "system": platform.platform(), "threads": 1, "torch": version("torch")}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
