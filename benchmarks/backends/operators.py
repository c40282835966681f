"""Do SiLU, Hardswish and squeeze-and-excitation keep int8 from being faster than float?

    python benchmarks/backends/operators.py [--size 224] [--seconds 20] [--threads 1] [--backends onnxruntime openvino]

EfficientNet-B0, changed in place: as it is, with ReLU6 for every SiLU, without squeeze-and-excitation, and with neither (which is what
EfficientNet-Lite does); beside them MobileNetV3 with Hardswish and with ReLU6. Weights are random, time does not depend on them. Every
network is compiled and quantised (`int8-static`) as a run would do it, and its two files are timed in turn, one image a call, so that a
busy machine is busy for both alike. `ratio` is the median of int8 over that of float; milliseconds of different rows are not comparable.
Writes `operators.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

from edgefw.contracts.backend import CompileRequest, OnnxCompiler
from edgefw.contracts.quantizer import Calibration
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.runtime.benchmark import time_interleaved

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from running import machine

HERE = Path(__file__).resolve().parent
ACTIVATIONS, GATED = (nn.SiLU, nn.Hardswish), ("SqueezeExcite",)
NETWORKS = {
    "efficientnet_b0": ("efficientnet_b0", False, False),
    "efficientnet_b0, ReLU6": ("efficientnet_b0", True, False),
    "efficientnet_b0, no squeeze-excite": ("efficientnet_b0", False, True),
    "efficientnet_b0, neither": ("efficientnet_b0", True, True),
    "mobilenetv3_large_100": ("mobilenetv3_large_100", False, False),
    "mobilenetv3_large_100, ReLU6": ("mobilenetv3_large_100", True, False),
}
"""Row -> timm's name, whether activations become ReLU6, whether squeeze-and-excitation goes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--seconds", type=float, default=20.0, help="of timing, for the two files of a network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS], choices=[*NETWORKS], metavar="ROW")
    parser.add_argument("--backends", nargs="+", default=["onnxruntime"], choices=["onnxruntime", "openvino"])
    parser.add_argument("--out", type=Path, default=HERE / "operators.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for name in arguments.networks:
        for backend in arguments.backends:
            rows.append({"network": name, "backend": backend, **timed(changed(*NETWORKS[name]), backend, arguments)})
            print(json.dumps(rows[-1]), flush=True)
    found = {"rows": rows, "size": arguments.size, "machine": {**machine(), "threads": arguments.threads}}
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def changed(model: str, relu6: bool, ungated: bool) -> nn.Module:
    """A timm network without its classifier, and without what is not wanted."""
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(model, num_classes=0).eval()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if relu6 and isinstance(child, ACTIVATIONS):
                setattr(parent, name, nn.ReLU6())
            if ungated and type(child).__name__ in GATED:
                setattr(parent, name, nn.Identity())
    return network


def timed(network: nn.Module, backend: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Median milliseconds of the float and of the int8 file."""
    piece, pictures = _backend(backend), _images(8, arguments.size)
    with tempfile.TemporaryDirectory() as work:
        folders = [Path(tempfile.mkdtemp(dir=work)) for _ in range(2)]
        requests = [_request(network, folder, pictures, backend) for folder in folders]
        plain = piece.compile(requests[0])
        rounded = folders[1] / "rounded.onnx"
        calibration = Calibration(batches=lambda: _batches(pictures), samples=len(pictures))
        Int8Static(StaticConfig(), "int8-static").quantize(plain.onnx or plain.file, rounded, calibration)
        file = piece.compile_onnx(rounded, requests[1]).file if isinstance(piece, OnnxCompiler) else rounded
        runners = {"float": piece.open(plain.file, arguments.threads), "int8": piece.open(file, arguments.threads)}
        feeds = {name: [{"image": pictures[at : at + 1]} for at in range(4)] for name in runners}
        found = time_interleaved(runners, feeds, arguments.seconds)
    float_ms, int8_ms = found["float"].p50_ms, found["int8"].p50_ms
    return {
        "float_ms": round(float_ms, 2),
        "int8_ms": round(int8_ms, 2),
        "ratio": round(int8_ms / float_ms, 2),
        "calls": found["int8"].calls,
    }


def _backend(name: str) -> Any:
    if name == "onnxruntime":
        return OnnxRuntimeBackend(OnnxRuntimeConfig())
    from edgefw.plugins.backends.openvino import OpenVinoBackend, OpenVinoConfig

    return OpenVinoBackend(OpenVinoConfig())


def _request(network: nn.Module, folder: Path, pictures: np.ndarray, backend: str) -> CompileRequest:
    return CompileRequest(
        network=network,
        inputs={"image": pictures.shape[1:]},
        folder=folder,
        examples={"image": pictures[:3]},
        keep_onnx=backend != "onnxruntime",
    )


def _images(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3, size, size)).astype(np.float32)


def _batches(pictures: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    for at in range(0, len(pictures), 4):
        yield {"image": pictures[at : at + 4]}


if __name__ == "__main__":
    main()
