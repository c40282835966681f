"""Exact products of int8 numbers in ONNX Runtime, on every processor; and denormal numbers flushed by its threads.

x86 processors without VNNI (AVX2 and older, many of them in cameras) add two products of uint8 and int8 in 16 bits, and what does not
fit is cut: 2 x 255 x 127 becomes 32,767. A network then gives answers that its file does not say. ONNX Runtime has kernels that add exactly, and takes them where the session option below asks for it, for weights beyond
7 bits alone; they are slower. A processor with VNNI would be slowed down for nothing, so one small product is tried first.

Source: ONNX Runtime, onnxruntime_session_options_config_keys.h, `kOrtSessionOptionsAvx2PrecisionMode`.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

import numpy as np

from edgefw.runtime.denormals import OPTION as FLUSH

OPTION = "session.x64quantprecision"
_CPU, _SILENT = ["CPUExecutionProvider"], 4
_LENGTH, _LARGEST_INPUT, _LARGEST_WEIGHT = 8, 255, 127
_PRODUCT = base64.b64decode(
    "CAg6lwEKGAoBYQoBdxIBeSINTWF0TXVsSW50ZWdlchIEc3VtcypLCAgICBADQgF3SkB/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/"
    "f39/f39/f39/f39/f39/f39/f39/f39/f39/WhMKAWESDgoMCAISCAoCCAEKAggIYhMKAXkSDgoMCAYSCAoCCAEKAggIQgQKABAN"
)
"""ONNX: "a" (1, 8) uint8 by a constant (8, 8) int8 matrix of 127, MatMulInteger to "y" (1, 8) int32."""


def exact_session(model: str | bytes, options: Any) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU whose int8 products are exact on this processor.

    The threads of its own pool take denormal numbers as zero. ONNX Runtime lets the first session of a process decide for the thread that makes it, too: that
    is the small one of `products_are_exact`, which does not ask, so the caller's arithmetic stays as it is (`flushed` is for the length of a call).

    ONNX Runtime (1.32) cannot exchange the weights of a graph whose layers share an int8 constant. `ConstantSharing` would make them
    share it; a file that does so itself runs its layers in float, between the roundings that the file asks for.

    Args:
        model: path or content of an ONNX file.
        options: `onnxruntime.SessionOptions`, which this function may change.

    Raises:
        Exception: what onnxruntime raises if it cannot load the model.
    """
    import onnxruntime

    exact = products_are_exact()  # before any session that flushes
    options.add_session_config_entry(FLUSH, "1")
    if exact:
        return onnxruntime.InferenceSession(model, options, providers=_CPU)
    options.add_session_config_entry(OPTION, "1")
    stated, options.log_severity_level = options.log_severity_level, _SILENT  # a refusal below is no news
    try:
        return onnxruntime.InferenceSession(model, options, providers=_CPU, disabled_optimizers=["ConstantSharing"])
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail:  # a shared constant
        options.log_severity_level = stated
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        return onnxruntime.InferenceSession(model, options, providers=_CPU)


@lru_cache(maxsize=1)
def products_are_exact() -> bool:
    """Whether this processor's default kernels add int8 products without a loss; tried once per process, about 2 ms."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(_PRODUCT, options, providers=_CPU)
    found = session.run(None, {"a": np.full((1, _LENGTH), _LARGEST_INPUT, np.uint8)})[0]
    return bool((found == _LENGTH * _LARGEST_INPUT * _LARGEST_WEIGHT).all())
