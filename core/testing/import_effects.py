"""What importing a module does to its process, seen from a fresh interpreter.

All modules of one distribution are imported in one interpreter, one after another, and what each changes is remembered:
a package with thirty techniques does not start torch thirty times.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from edgefw.registry.discovery import PluginRef, installed

_SCRIPT = r"""
import importlib, json, logging, os, random, sys, threading, warnings

def state():
    found = {
        "environment variables": dict(os.environ),
        "working directory": os.getcwd(),
        "files in the working directory": sorted(os.listdir(".")),
        "files in the home folder": sorted(os.listdir(os.path.expanduser("~"))),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "handlers of the root logger": [str(handler) for handler in logging.getLogger().handlers],
        "level of the root logger": logging.getLogger().level,
        "Python's random state": random.getstate(),
        "sys.path": list(sys.path),
    }
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy:
        found["NumPy's random state"] = numpy.random.get_state(legacy=True)[1].tolist()
    if torch:
        found["torch's random state"] = torch.get_rng_state().tolist()
        found["torch settings"] = [
            str(torch.get_default_dtype()), torch.get_num_threads(), torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic, torch.get_float32_matmul_precision(),
        ]
    return found

report = {}
for module, requires in json.loads(sys.argv[1]):
    try:
        for package in ["pydantic", "numpy", "PIL.Image", *requires]:
            importlib.import_module(package)
    except Exception:
        pass
    before = state()
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        report[module] = [f"{type(error).__name__}: {error}"]
        continue
    after = state()
    report[module] = [name for name in before if before[name] != after[name]]
print("\n" + json.dumps(report))
"""


def effects_of_import(ref: PluginRef, requires: Sequence[str]) -> list[str]:
    """What importing the module of an entry point changes; empty if nothing.

    Args:
        ref: the entry point.
        requires: packages that the technique declares; they are imported first, and their effects do not count.
    """
    own = [other for other in installed() if other.distribution == ref.distribution and other.file]
    modules = {other.module: tuple(sorted(top_imports(other.file))) for other in own if other.file}
    modules[ref.module] = tuple(sorted({*modules.get(ref.module, ()), *(requires if len(own) == 1 else ())}))
    return _report(tuple(modules.items()))[ref.module]


def top_imports(file: Path) -> set[str]:
    """Top-level names of the packages that a source file imports at its top; without the standard library."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names


@cache
def _report(modules: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, list[str]]:
    with tempfile.TemporaryDirectory(prefix="edgefw-kit-") as folder:
        paths = [path for path in sys.path if path]
        environment = {
            **os.environ,
            "HOME": folder,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, json.dumps(modules)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        ending = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return {module: [f"the interpreter ended: {ending[0]}"] for module, _ in modules}
    report: dict[str, list[str]] = json.loads(done.stdout.strip().splitlines()[-1])
    return report
