"""What others check after an export, really run: torch's own `verify=True`, and a comparison on one random input.

`torch.onnx.export(..., verify=True)` runs the graph on the example input and compares it with the exported program;
it warns from an absolute difference of 5e-3 or a relative one of 0.1 on, which counts as caught here, and looks at no
other file than the one it is writing. To be generous, a fault of the graph is put into the exporter's result before that
very comparison runs.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from torch import nn

from edgefw.plugins.backends.onnxruntime import open_session

ABSOLUTE, RELATIVE = 1e-4, 1e-3
"""Of the comparison on a random input, as `numpy.testing.assert_allclose` takes them."""
LARGE_ABSOLUTE, LARGE_RELATIVE = 5e-3, 1e-1
"""From here on torch 2.15 calls an output's difference large."""


class TorchVerify:
    """The exporter's check of a float network.

    Args:
        network: in evaluation mode.
        shape: (C, H, W) of its input.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        self._network = network
        self._example = torch.from_numpy(random_input((2, *shape)))
        self._program = self._exported(network, verify=False)
        self._clean = self._program.model_proto

    def of_graph(self, change: Callable[[onnx.ModelProto], Any]) -> bool:
        """Whether the comparison calls a changed graph wrong."""
        from torch.onnx._internal.exporter._verification import verify_onnx_program

        model = copy.deepcopy(self._clean)
        change(model)
        self._program.model = onnx_ir.from_proto(model)
        self._program.release()
        try:
            found = verify_onnx_program(self._program)
        except Exception:  # noqa: BLE001 - the exporter reports any failure of the runtime as a failed check
            return True
        finally:
            self._program.model = onnx_ir.from_proto(self._clean)
            self._program.release()
        return any(row.max_abs_diff >= LARGE_ABSOLUTE or row.max_rel_diff >= LARGE_RELATIVE for row in found)

    def of_network(self, network: nn.Module, dynamic: bool = True) -> bool:
        """Whether an export of `network` with `verify=True` warns."""
        caught = _Caught()
        logger = logging.getLogger("torch.onnx")
        logger.addHandler(caught)
        try:
            self._exported(network, verify=True, dynamic=dynamic)
        finally:
            logger.removeHandler(caught)
        return any("large" in text or "fails" in text for text in caught.texts)

    def _exported(self, network: nn.Module, verify: bool, dynamic: bool = True) -> Any:
        return exported(network, self._example, verify=verify, dynamic=dynamic)


class _Caught(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def exported(network: nn.Module, example: torch.Tensor, verify: bool = False, dynamic: bool = True) -> Any:
    """The exporter's program, with a free batch dimension or with that of the example."""
    shapes = ({0: torch.export.Dim("batch", min=1, max=4096)},) if dynamic else None
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            verify=verify,
            verbose=False,
            input_names=["image"],
            output_names=["embedding"],
            dynamic_shapes=shapes,
            opset_version=18,
        )


def dummy_input(network: nn.Module, file: Path, shape: tuple[int, ...]) -> bool:
    """Whether one random image gives another answer than the network's, beyond a fixed tolerance, or no answer."""
    values = random_input((1, *shape))
    with torch.no_grad():
        expected = copy.deepcopy(network)(torch.from_numpy(values)).numpy()
    try:
        session = open_session(file, 1)
        said = session.run(None, {session.get_inputs()[0].name: values})[0]
        np.testing.assert_allclose(said, expected, rtol=RELATIVE, atol=ABSOLUTE)
    except Exception:  # noqa: BLE001 - an error of any kind is a fault that was seen
        return True
    return False


def random_input(shape: tuple[int, ...]) -> np.ndarray:
    """Normal noise, as such checks are fed."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
