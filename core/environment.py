"""What a run was made with: versions, the plugins it used, and the machine. Nothing outside the process is asked."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

from edgefw import __version__

if TYPE_CHECKING:
    from edgefw.recipe.compose import Chosen, Composition
    from edgefw.registry.loading import Registry

PACKAGES = (
    "numpy",
    "pillow",
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "transformers",
    "torchao",
    "accelerate",
    "safetensors",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "omegaconf",
    "pydantic",
)
"""Distributions whose version can change a result."""


def environment(composition: Composition, registry: Registry) -> dict[str, Any]:
    """Versions, plugins and hardware, JSON-able; two runs with equal records ran the same code on the same machine."""
    return {
        "edgefw": __version__,
        "python": platform.python_version(),
        "packages": _versions(),
        "plugins": used_plugins(composition, registry),
        "hardware": hardware(),
    }


def used_plugins(composition: Composition, registry: Registry) -> list[dict[str, str]]:
    """Kind, name, distribution and version of every technique of the recipe, each once."""
    rows = {(row["kind"], row["name"]): row for row in (_row(chosen, registry) for chosen in composition.all())}
    return list(rows.values())


def _row(chosen: Chosen, registry: Registry) -> dict[str, str]:
    module = chosen.technique.build.__module__
    named = [ref for ref in registry.refs(chosen.kind) if ref.name.replace("_", "-") == chosen.technique.name]
    exact = [ref for ref in named if ref.module == module] or named
    row = {"kind": str(chosen.kind), "name": chosen.technique.name, "module": module}
    return {**row, "distribution": exact[0].distribution, "version": exact[0].version} if exact else row


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """System, processor, cores that this process may use, bytes of memory, and graphics cards."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory(),
        "gpus": _gpus(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _gpus() -> list[str]:
    """Names of CUDA devices, if torch is loaded already: a look at them must not cost an import."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
