"""What all tests share: first-party plugins only, no network, and a run folder that looks like a real one."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

os.environ.setdefault("EDGEFW_PLUGINS", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # `import openvino` would fork and report


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """`write_run(folder, leave_out=(), **changes)` writes a finished run of ten classes and two modalities."""
    source = Path(__file__).parent / "fixtures" / "synthetic_run.py"
    function: Callable[..., Any] = runpy.run_path(str(source))["write_run"]
    return function


@pytest.fixture(scope="session")
def small_bundle() -> Any:
    """The names of tests/fixtures/small_bundle.py: `write_small_bundle(folder)`, `write_pictures(folder)`, ..."""
    source = Path(__file__).parent / "fixtures" / "small_bundle.py"
    return SimpleNamespace(**runpy.run_path(str(source)))


@pytest.fixture(scope="session")
def pair_bundle() -> Any:
    """The names of tests/fixtures/pair_bundle.py: `write_pair_bundle(folder)`, `write_scenes(folder)`, ..."""
    source = Path(__file__).parent / "fixtures" / "pair_bundle.py"
    return SimpleNamespace(**runpy.run_path(str(source)))


@pytest.fixture(scope="session")
def off_when_alone() -> Callable[..., None]:
    """`off_when_alone(file, factor)` makes an ONNX file wrong at batch 1, and there alone."""
    source = Path(__file__).parent / "fixtures" / "batch_fault.py"
    function: Callable[..., None] = runpy.run_path(str(source))["off_when_alone"]
    return function


@pytest.fixture(scope="session")
def installed_plugins(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`with installed_plugins("edgefw-acme"):` has third parties' packages in the environment, see its file."""
    source = Path(__file__).parent / "fixtures" / "installed_plugins.py"
    return runpy.run_path(str(source))["InstalledPlugins"](tmp_path_factory.mktemp("plugins"))


@pytest.fixture(scope="session")
def quick_quickstart() -> tuple[str, ...]:
    """Overrides that make the quickstart a matter of seconds."""
    return (
        "data.train=96",
        "data.val=24",
        "data.test=24",
        "train.0.epochs=1",
        "train.0.batch=16",
        "verify={split: test, max_drop: null, min_cosine: null, max_slowdown: null}",
    )
