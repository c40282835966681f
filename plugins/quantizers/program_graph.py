"""An exported program with int8 rounding in its graph: capture, observe, convert, count.

Knows torch, torchao's PT2E flow and XNNPACK's annotations; what a user may ask for, `int8-pt2e` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgefw.contracts.quantizer import Calibration
from edgefw.errors import ExportError
from edgefw.plugins.backends.capture import captured, quiet
from edgefw.plugins.backends.reparameterise import Notes, reparameterised

_LAYERS = ("conv1d", "conv2d", "conv3d", "conv_transpose", "linear")


def rounded_program(
    network: nn.Module, calibration: Calibration, per_channel: bool, excluded: Sequence[str]
) -> tuple[torch.fx.GraphModule, Notes]:
    """The network as a graph that rounds as int8 does, with ranges from the samples; fused first where it offers it."""
    first = next(iter(calibration.batches()))
    plain, notes = reparameterised(network, first)
    settings = get_symmetric_quantization_config(is_per_channel=per_channel)
    annotator = XNNPACKQuantizer().set_global(settings)
    if excluded:
        annotator.set_filter_function(lambda node: not _lies_in(node, excluded))
    with quiet(), torch.no_grad():
        observed = prepare_pt2e(captured(plain, first).module(), annotator)
        for batch in calibration.batches():
            observed(*(torch.from_numpy(np.ascontiguousarray(values, np.float32)) for values in batch.values()))
        rounded: torch.fx.GraphModule = convert_pt2e(observed)
    return rounded, notes


def excluded_modules(network: nn.Module, patterns: Sequence[str], path: str) -> list[str]:
    """Names of the modules that stay float, with all that lies inside them.

    Raises:
        ExportError: if a pattern fits none.
    """
    names = [name for name, _ in network.named_modules() if name]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ExportError(f"{path}.exclude: '{pattern}' fits no module. The first are: {', '.join(names[:5])}.")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _lies_in(node: torch.fx.Node, names: Sequence[str]) -> bool:
    stack = [place for place, _ in node.meta.get("nn_module_stack", {}).values()]
    return any(place == name or place.startswith(name + ".") for place in stack for name in names)


def layer_counts(graph: torch.fx.GraphModule) -> dict[str, int]:
    """How many convolutions and matrices read int8, and how many float."""
    counts = {"int8": 0, "float": 0}
    for node in graph.graph.nodes:
        if node.op == "call_function" and str(node.target).removeprefix("aten.").startswith(_LAYERS):
            counts["int8" if "dequantize" in str(getattr(node.args[0], "target", "")) else "float"] += 1
    return counts
