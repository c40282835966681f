"""An ONNX graph in half precision between float32 inputs and outputs, by onnxruntime's converter, and what fp16 cannot hold.

fp16 has 11 bits of precision and ends at 65504. The converter puts a Cast at the graph's ends and around operators that
have no fp16 form. It cuts numbers beyond the range without a word, so they are refused first.
"""

from __future__ import annotations

import numpy as np
import onnx

from edgefw.errors import ExportError
from edgefw.plugins.backends.onnx_constants import constant_layers, constants

LARGEST_HALF = 65504.0


def half(model: onnx.ModelProto, who: str, advice: str) -> onnx.ModelProto:
    """The graph with its layers and stored numbers in fp16.

    Args:
        model: float32; it may be changed.
        who: begins messages.
        advice: ends them.

    Raises:
        ExportError: if a stored number is beyond the type's range, or the converter fails.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    refuse_beyond(model, who, advice)
    try:
        converted: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, max_finite_val=LARGEST_HALF)
    except Exception as error:  # whatever the converter raises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{who}: the graph cannot be made fp16 ({reason}). {advice}") from error
    return converted


def refuse_beyond(model: onnx.ModelProto, who: str, advice: str) -> None:
    """Refuse a stored number that is beyond fp16.

    Raises:
        ExportError: naming it.
    """
    for name, values in {**constants(model), **constant_layers(model)}.items():
        beyond = np.isfinite(values) & (np.abs(values) > LARGEST_HALF) if values.dtype == np.float32 else np.zeros(1)
        if beyond.any():
            raise ExportError(
                f"{who}: '{name}' has {float(np.abs(values[beyond]).max()):g}, and fp16 ends at {LARGEST_HALF:g}. {advice}"
            )
