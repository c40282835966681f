"""`edgefw doctor`: what is installed, what is missing, and the command that gets it. Imports no plugin.

It imports torch to ask for devices, where torch is installed; everything else is read from metadata.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from edgefw import API_VERSION, __version__
from edgefw.own_environment import ENVIRONMENTS, own_environment
from edgefw.registry.discovery import ALLOW_LIST, installed
from edgefw.registry.requirements import EXTRAS, install_command, is_importable, version_of
from edgefw.user_cache import CACHE, user_cache

BASE = ("pluggy", "omegaconf", "pydantic", "rich", "click", "numpy", "pillow", "onnxruntime", "safetensors")


@click.command("doctor")
@click.option("--make", metavar="NAME", help="Make an environment that a backend's converter needs for itself.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(make: str | None, as_json: bool) -> None:
    """Say what is installed, what is missing, and how to get it."""
    if make:
        own_environment(make).make(lambda text: click.echo(text, err=True))
    found = examine()
    click.echo(json.dumps(found, indent=2) if as_json else _text(found))


def examine() -> dict[str, Any]:
    """Everything the command prints, as plain values."""
    return {
        "edgefw": __version__,
        "plugin_api": API_VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": devices(),
        "packages": {name: _distribution_version(name) for name in BASE},
        "compiler": compiler(),
        "extras": {extra: _extra(extra) for extra in EXTRAS},
        "environments": {name: _environment(name) for name in ENVIRONMENTS},
        "plugins": _plugins(),
        "folders": {name: _folder(path) for name, path in _folders().items()},
        "allow_list": os.environ.get(ALLOW_LIST),
    }


def devices() -> list[str]:
    """What training can run on: the CPU, and what torch sees; providers of ONNX Runtime stand in `packages`."""
    names = ["cpu"]
    if not is_importable("torch"):
        return names
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken installation of torch is what doctor is asked about
        return [*names, f"torch cannot be imported: {type(error).__name__}: {error}"]
    names += [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    return [*names, "mps"] if torch.backends.mps.is_available() else names


def compiler() -> dict[str, Any]:
    """The C++ compiler that backends of native code call: `CXX`, or the system's usual one; `path` is None without it."""
    program = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    return {"program": program, "path": shutil.which(program)}


def _distribution_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _extra(extra: str) -> dict[str, Any]:
    versions = {package: version_of(package) for package in EXTRAS[extra]}
    missing = [package for package, version in versions.items() if version is None]
    return {"packages": versions, "missing": missing, "install": install_command(extra) if missing else None}


def _environment(name: str) -> dict[str, Any]:
    own = own_environment(name)
    state = {"requirements": list(own.requirements), "path": str(own.folder), "ready": own.ready}
    return {**state, "make": None if own.ready else own.command}


def _plugins() -> list[dict[str, Any]]:
    refs = installed()
    counts = Counter((ref.distribution, ref.version) for ref in refs)
    bad = {
        key: [ref.name for ref in refs if (ref.distribution, ref.version) == key and ref.status != "ok"]
        for key in counts
    }
    return [
        {"distribution": name, "version": version, "techniques": count, "problems": bad[name, version]}
        for (name, version), count in counts.items()
    ]


def _folders() -> dict[str, Path]:
    """Where edgefw writes: runs in the working directory, caches where `EDGEFW_CACHE` says, drafts elsewhere."""
    name = "cache, EDGEFW_CACHE" if os.environ.get(CACHE) else "cache of environments and plans"
    return {"runs and their caches": Path.cwd(), "temporary files": Path(tempfile.gettempdir()), name: user_cache()}


def _folder(path: Path) -> dict[str, Any]:
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return {"path": str(path), "writable": os.access(there, os.W_OK), "free_gb": _free_gb(there)}


def _free_gb(path: Path) -> float | None:
    try:
        return round(shutil.disk_usage(path).free / 1e9, 1)
    except OSError:
        return None


def _text(found: dict[str, Any]) -> str:
    """One row per thing, its name in a column that is as wide as the longest."""
    rows = _rows(found)
    width = max(len(name) for name, _ in rows) + 2
    head = f"edgefw {found['edgefw']} (plugin API {found['plugin_api']}), Python {found['python']}, {found['platform']}"
    return "\n".join([head, *(f"{name:{width}}{text}" for name, text in rows)])


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("python", sys.executable),
        ("devices", f"{', '.join(found['devices'])}; {found['cores']} CPU cores"),
        ("base", _versions(found["packages"])),
        ("compiler", _compiler(found["compiler"])),
    ]
    for extra, state in found["extras"].items():
        rows.append((extra, _versions(state["packages"])))
        if state["missing"]:
            rows.append(("", f"missing: {', '.join(state['missing'])}. Install: {state['install']}"))
    for name, state in found["environments"].items():
        wanted = ", ".join(state["requirements"])
        rows.append(("environment", f"{name}: {wanted} in {state['path']}" if state["ready"] else f"{name}: nothing"))
        if not state["ready"]:
            rows.append(("", f"missing: {wanted}, which cannot live beside edgefw. Make: {state['make']}"))
    for plugin in found["plugins"]:
        problems = f"; look at {', '.join(plugin['problems'])}" if plugin["problems"] else ""
        rows.append(
            ("plugins", f"{plugin['distribution']} {plugin['version']}: {plugin['techniques']} techniques{problems}")
        )
    for name, state in found["folders"].items():
        verdict = "writable" if state["writable"] else "NOT writable"
        rows.append(("folder", f"{state['path']} ({name}): {verdict}, {state['free_gb']} GB free"))
    if found["allow_list"] is not None:
        rows.append(("note", f"{ALLOW_LIST}={found['allow_list']!r} limits what is seen"))
    return rows


def _compiler(state: dict[str, Any]) -> str:
    if state["path"]:
        return str(state["path"])
    return (
        f"no '{state['program']}': backends of native code cannot compile. Install one (Debian, Ubuntu: apt-get install g++), "
        "or name yours in CXX"
    )


def _versions(packages: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items() if version) or "nothing"
