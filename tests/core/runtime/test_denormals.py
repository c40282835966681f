"""Denormal numbers: zero inside the context and in a session, and the caller's own arithmetic as it was."""

import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgefw.plugins.backends.onnxruntime import OnnxRunner
from edgefw.runtime.denormals import flushed
from edgefw.runtime.integer_products import exact_session

DENORMAL = np.full((1, 1, 256, 256), 1e-40, np.float32)
knows = platform.libc_ver()[0] == "glibc" and platform.machine() == "x86_64"
where_it_is_known = pytest.mark.skipif(not knows, reason="the mode is set on x86-64 with the GNU C library alone")


def halved() -> np.ndarray:
    return DENORMAL * np.float32(0.5)


@where_it_is_known
def test_denormals_are_zero_inside_and_numbers_again_behind_it():
    assert halved().all()
    with flushed():
        assert not halved().any()
        with flushed():
            assert not halved().any()
        assert not halved().any()
    assert halved().all()


@where_it_is_known
def test_a_failure_inside_puts_the_mode_back():
    with pytest.raises(ZeroDivisionError), flushed():
        1 / 0  # noqa: B018
    assert halved().all()


@where_it_is_known
def test_another_thread_keeps_its_own_mode():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(
            lambda: bool(halved().all())
        ).result()  # a thread that is started inside starts with its mode
        with flushed():
            assert pool.submit(lambda: bool(halved().all())).result()


def session(threads: int) -> onnxruntime.InferenceSession:
    """Half of a picture, in a session as backends open it."""
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, DENORMAL.shape) for name in "xy"]
    node = helper.make_node("Mul", ["x", "half"], ["y"])
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    graph = helper.make_graph([node], "halves", shapes[:1], shapes[1:], [half])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return exact_session(model.SerializeToString(), options)


@where_it_is_known
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_runner_flushes_in_every_thread_and_nothing_stays(threads):
    opened = session(threads)
    for _ in range(5):
        assert not OnnxRunner(opened).run({"x": DENORMAL}).any()
        assert halved().all()


@where_it_is_known
def test_opening_a_session_changes_no_arithmetic_of_a_fresh_process():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_denormals import session, halved\n"
        "session(2)\n"
        "print(bool(halved().all()))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["True"]
