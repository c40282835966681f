"""Relu and Clip in front of a rounding: which values eight bits keep, and whether a clamp has anything left to do there.

ONNX Runtime takes such an idle clamp out when it opens a file, so that the layer before it runs in int8. This file reads constants of a graph; it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

CLAMPS = ("Relu", "Clip")


def is_idle(clamp: onnx.NodeProto, rounding: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a QuantizeLinear to eight bits cuts off all that a Relu or Clip before it cuts off; no where bounds are computed."""
    low, high = kept(rounding, constants)
    limits = [-np.inf, np.inf] if clamp.op_type == "Clip" else [0.0, np.inf]
    for place, name in enumerate(clamp.input[1:]):
        if name:
            if name not in constants:
                return False
            limits[place] = float(numpy_helper.to_array(constants[name]))
    return limits[0] <= low and high <= limits[1] * (1 + 1e-6)


def kept(rounding: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> tuple[float, float]:
    """The smallest and the largest value that a QuantizeLinear can keep; everything, if its scale is no constant."""
    scale = constants.get(rounding.input[1])
    zero = constants.get(rounding.input[2]) if len(rounding.input) > 2 else None
    if scale is None or zero is None:
        return -np.inf, np.inf
    step, origin = numpy_helper.to_array(scale).astype(np.float64), numpy_helper.to_array(zero)
    bounds = np.iinfo(origin.dtype)
    low, high = (float((step * (bound - origin.astype(np.float64))).max()) for bound in (bounds.min, bounds.max))
    return low, high
