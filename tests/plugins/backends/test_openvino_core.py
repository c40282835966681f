"""OpenVINO in a process that gets signals: none of them ends it, and nothing is reported to anyone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefw.contracts.backend import CompileRequest
from edgefw.plugins.backends.openvino import OpenVinoBackend, OpenVinoConfig
from edgefw.plugins.backends.openvino_core import shared_core

pytest.importorskip("openvino")

OPENED = """
import gc, os, signal, sys, threading
forks = []
os.register_at_fork(before=lambda: forks.append(threading.current_thread().name))
from pathlib import Path
from edgefw.plugins.backends.openvino import OpenVinoBackend, OpenVinoConfig
open_it = lambda: OpenVinoBackend(OpenVinoConfig(threads=1)).open(Path(sys.argv[1]))
"""
SIGNALS = """
signal.signal(signal.SIGINT, lambda *_: print("handled", flush=True))
os.kill(os.getpid(), signal.SIGINT)
os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
print("alive")
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer as IR."""
    folder = tmp_path_factory.mktemp("ir")
    shapes = {name: ["batch", width] for name, width in (("image", 4), ("embedding", 3))}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    weights = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["image", "w"], ["embedding"])], "g", values[:1], values[1:], [weights]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "layer.onnx"
    )
    request = CompileRequest(
        network=None, inputs={"image": (4,)}, folder=folder, examples={"image": np.ones((1, 4), np.float32)}
    )
    return OpenVinoBackend(OpenVinoConfig(threads=1)).compile_onnx(folder / "layer.onnx", request).file


@pytest.fixture
def printed(file: Path) -> Callable[[str], list[str]]:
    """`printed(code)`: the lines of a fresh process; it must end well."""

    def call(code: str) -> list[str]:
        command = [sys.executable, "-c", OPENED + code, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return done.stdout.splitlines()

    return call


@pytest.mark.parametrize("before", ["", "import faulthandler; faulthandler.enable()\n"], ids=["plain", "faulthandler"])
def test_a_signal_after_files_were_opened_and_closed_in_turn_is_handled(
    printed: Callable[[str], list[str]], before: str
) -> None:
    closed = "first = open_it(); second = open_it(); del first; gc.collect(); del second; gc.collect()\n"
    assert printed(before + closed + SIGNALS) == ["handled", "alive"]


def test_a_signal_after_a_file_was_closed_by_another_thread_is_handled(printed: Callable[[str], list[str]]) -> None:
    closed = "kept = [open_it()]\nthread = threading.Thread(target=kept.clear); thread.start(); thread.join()\n"
    assert printed(closed + SIGNALS) == ["handled", "alive"]


def test_opening_starts_no_telemetry_and_forks_nothing(printed: Callable[[str], list[str]]) -> None:
    code = "open_it()\nprint('openvino_telemetry' in sys.modules, forks, len(threading.enumerate()))\n"
    assert printed(code) == ["False [] 1"]


def test_there_is_one_core(file: Path) -> None:
    first, second = (OpenVinoBackend(OpenVinoConfig(threads=1)).open(file) for _ in range(2))
    assert first._core is second._core is shared_core()
