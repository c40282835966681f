"""Float ONNX files written with onnx.helper, so that these tests need no exporter."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefw.contracts.quantizer import Calibration
from edgefw.runtime.integer_products import exact_session

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures"))  # int8_files


def _save(path: Path, nodes: list, weights: dict[str, np.ndarray], shape: list, out: list) -> Path:
    graph = helper.make_graph(
        nodes,
        "student",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _conv(path: Path) -> Path:
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(16, 3, 3, 3)) * 0.3,
        "w2": rng.normal(size=(64, 16, 3, 3)) * 0.1 * rng.uniform(0.1, 3, size=(64, 1, 1, 1)),
        "w3": rng.normal(size=(8, 64)) * 0.2,
        "b3": rng.normal(size=8),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["a"], name="stem", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="body", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], name="pool"),
        helper.make_node("Flatten", ["d"], ["e"], name="flatten"),
        helper.make_node("Gemm", ["e", "w3", "b3"], ["embedding"], name="head", transB=1),
    ]
    return _save(path, nodes, weights, ["batch", 3, 16, 16], ["batch", 8])


def _pooled(path: Path) -> Path:
    """A convolution, a MaxPool whose output has a higher percentile than its input, and a convolution."""
    rng = np.random.default_rng(2)
    weights = {"w1": rng.normal(size=(16, 3, 3, 3)) * 0.3, "w2": rng.normal(size=(64, 16, 3, 3)) * 0.1}
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["a"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("MaxPool", ["b"], ["c"], name="pool", kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["c", "w2"], ["d"], name="body", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], name="mean"),
        helper.make_node("Flatten", ["e"], ["embedding"], name="flatten"),
    ]
    return _save(path, nodes, weights, ["batch", 3, 16, 16], ["batch", 64])


def _attention(path: Path) -> Path:
    rng = np.random.default_rng(1)
    sizes = {"query": 0.05, "key": 0.05, "value": 0.15, "out": 0.15}  # flat attention, as of many tokens
    weights = {name: rng.normal(size=(48, 48)) * size for name, size in sizes.items()}
    nodes = [
        helper.make_node("MatMul", ["image", "query"], ["q"], name="query"),
        helper.make_node("MatMul", ["image", "key"], ["k"], name="key"),
        helper.make_node("MatMul", ["image", "value"], ["v"], name="value"),
        helper.make_node("Transpose", ["k"], ["kt"], name="transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"], name="scores"),
        helper.make_node("Softmax", ["scores"], ["attention"], name="softmax", axis=-1),
        helper.make_node("MatMul", ["attention", "v"], ["mixed"], name="mix"),
        helper.make_node("MatMul", ["mixed", "out"], ["embedding"], name="out"),
    ]
    return _save(path, nodes, weights, ["batch", 64, 48], ["batch", 64, 48])


@pytest.fixture
def conv_file(tmp_path: Path) -> Path:
    """Two convolutions and a head: (B, 3, 16, 16) to (B, 8)."""
    return _conv(tmp_path / "conv.onnx")


@pytest.fixture
def pooled_file(tmp_path: Path) -> Path:
    """Conv, Relu, MaxPool, Conv, GlobalAveragePool."""
    return _pooled(tmp_path / "pooled.onnx")


@pytest.fixture
def attention_file(tmp_path: Path) -> Path:
    """One attention head over 64 tokens: (B, 64, 48) to (B, 64, 48)."""
    return _attention(tmp_path / "attention.onnx")


@pytest.fixture
def images() -> np.ndarray:
    """(40, 3, 16, 16) float32."""
    return np.random.default_rng(7).normal(size=(40, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def tokens() -> np.ndarray:
    """(40, 64, 48) float32."""
    return np.random.default_rng(8).normal(size=(40, 64, 48)).astype(np.float32)


@pytest.fixture
def calibration() -> Callable[..., Calibration]:
    """Calibration over an array, in batches of `batch`."""

    def make(values: np.ndarray, batch: int = 6, samples: int | None = None) -> Calibration:
        def batches():
            return ({"image": values[start : start + batch]} for start in range(0, len(values), batch))

        return Calibration(batches=batches, samples=len(values) if samples is None else samples)

    return make


@pytest.fixture
def run() -> Callable[[Path, np.ndarray], np.ndarray]:
    """Run a file in ONNX Runtime with everything it does at load."""
    import onnxruntime

    def call(path: Path, values: np.ndarray) -> np.ndarray:
        session = exact_session(str(path), onnxruntime.SessionOptions())
        return session.run(None, {"image": values})[0]

    return call


@pytest.fixture
def fused_operators(tmp_path: Path) -> Callable[[Path], set[str]]:
    """What ONNX Runtime makes of a file when it loads it."""
    import onnxruntime

    def operators(path: Path) -> set[str]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / "fused.onnx")
        exact_session(str(path), options)
        return {node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node}

    return operators


@pytest.fixture
def cosine() -> Callable[[np.ndarray, np.ndarray], float]:
    """Smallest cosine between rows."""

    def smallest(left: np.ndarray, right: np.ndarray) -> float:
        left, right = left.reshape(len(left), -1), right.reshape(len(right), -1)
        lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        return float(((left * right).sum(axis=1) / lengths).min())

    return smallest
