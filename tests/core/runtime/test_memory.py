"""Peak memory: held against arrays of known size, and against files of known size in a process of their own."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefw.runtime import memory
from edgefw.runtime.memory import peak_memory, restart_peak, status_mib

linux = pytest.mark.skipif(sys.platform != "linux", reason="the peak is told by Linux alone")
SHAPE = {"image": [3, 16, 16]}


def write_net(file: Path, mib: int) -> Path:
    """A file with so many MiB of weights, which the graph multiplies with."""
    weight = np.random.default_rng(0).normal(size=(768, mib * 2**20 // 4 // 768)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["wide"]),
        helper.make_node("ReduceMax", ["wide"], ["embedding"], axes=[1], keepdims=1),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])]
        for name, shape in (("image", [3, 16, 16]), ("embedding", [1]))
    ]
    graph = helper.make_graph(nodes, "net", *ends, [numpy_helper.from_array(weight, "weight")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


@linux
def test_what_was_given_back_before_the_end_counts_and_what_was_before_does_not():
    earlier = np.ones(80 * 2**17)
    del earlier
    before = restart_peak()
    assert status_mib("VmHWM") - before < 8
    block = np.ones(64 * 2**17)
    del block
    assert status_mib("VmRSS") - before < 8
    assert 60 < status_mib("VmHWM") - before < 72


@linux
def test_a_file_takes_at_least_its_weights_and_takes_the_same_a_second_time(tmp_path):
    pytest.importorskip("onnxruntime")
    large, small = write_net(tmp_path / "large.onnx", 48), write_net(tmp_path / "small.onnx", 1)
    found = [peak_memory("onnxruntime", {}, file, SHAPE, threads=1) for file in (large, small, large)]
    assert [one.why for one in found] == ["", "", ""]
    assert 48 < found[0].mib < 250
    assert 1 < found[1].mib < 40
    assert found[2].mib == pytest.approx(found[0].mib, abs=6)


def test_what_cannot_be_measured_has_the_reason(tmp_path, monkeypatch):
    found = peak_memory("no-such-backend", {}, tmp_path / "x", SHAPE)
    assert found.mib is None
    assert found.why.startswith("the process that measures it failed (") and "no-such-backend" in found.why
    monkeypatch.setattr(memory.sys, "executable", str(tmp_path / "gone"))
    assert peak_memory("onnxruntime", {}, tmp_path / "x", SHAPE).why.startswith("no process could be started (")


def test_a_system_that_does_not_tell_is_said_in_words(tmp_path, monkeypatch):
    status = tmp_path / "status"
    monkeypatch.setattr(memory, "_RESET", tmp_path / "gone" / "clear_refs")
    monkeypatch.setattr(memory, "_STATUS", status)
    assert restart_peak() == "only Linux tells the peak of a part of a process"
    status.write_text("VmHWM:\t 40960 kB\nVmRSS:\t 10240 kB\n")
    assert restart_peak() == "this system does not let a process set its peak back (No such file or directory)"
    monkeypatch.setattr(memory, "_RESET", tmp_path / "clear_refs")
    assert restart_peak() == "this system does not set the peak of a process back when asked to"
    status.write_text("VmHWM:\t 10240 kB\nVmRSS:\t 10240 kB\n")
    assert restart_peak() == 10.0
