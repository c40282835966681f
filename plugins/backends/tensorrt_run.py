"""Run a TensorRT plan: copy images to the GPU, start the plan, copy embeddings back.

Memory on the GPU is taken once, for the largest batch of the plan; more images than that go through in turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgefw.errors import BundleError


class TensorRtRunner:
    """A loaded plan.

    Args:
        engine: a `tensorrt.ICudaEngine` with one optimisation profile and one output.
    """

    def __init__(self, engine: Any) -> None:
        import tensorrt

        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        self.inputs: Sequence[str] = tuple(
            name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT
        )
        (self._output,) = (name for name in names if name not in self.inputs)
        self._engine, self._context = engine, engine.create_execution_context()
        self._largest = int(engine.get_tensor_profile_shape(self.inputs[0], 0)[2][0])
        self._stream = _called("cudaStreamCreate")
        self._memory = {name: self._reserved(name) for name in names}

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embeddings (B, D) float32 of {input name: (B, C, H, W) float32}."""
        rows = {name: np.ascontiguousarray(feeds[name], np.float32) for name in self.inputs}
        starts = range(0, len(rows[self.inputs[0]]), self._largest)
        parts = [
            self._batch({name: own[start : start + self._largest] for name, own in rows.items()}) for start in starts
        ]
        return np.concatenate(parts)

    def _batch(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        for name, own in rows.items():
            if not self._context.set_input_shape(name, own.shape):
                raise BundleError(f"the plan does not take {name} of shape {own.shape}: do the images have its size?")
            _called("cudaMemcpy", self._memory[name], own.ctypes.data, own.nbytes, _direction("HostToDevice"))
        result = np.empty(tuple(self._context.get_tensor_shape(self._output)), np.float32)
        if not self._context.execute_async_v3(self._stream):
            raise BundleError("TensorRT cannot run the plan; its own messages stand above.")
        _called("cudaStreamSynchronize", self._stream)
        _called("cudaMemcpy", result.ctypes.data, self._memory[self._output], result.nbytes, _direction("DeviceToHost"))
        return result

    def _reserved(self, name: str) -> int:
        """Memory on the GPU for the largest batch of a tensor of float32, bound to it; its address."""
        numbers = self._largest * int(np.prod(tuple(self._engine.get_tensor_shape(name))[1:]))
        address = int(_called("cudaMalloc", 4 * numbers))
        self._context.set_tensor_address(name, address)
        return address

    def __del__(self) -> None:
        for address in getattr(self, "_memory", {}).values():
            _called("cudaFree", address)


def load(plan: bytes, file: Path) -> TensorRtRunner:
    """A runner of a plan.

    Args:
        plan: serialised.
        file: what messages name.

    Raises:
        BundleError: if the plan is damaged, or was built for another TensorRT or GPU.
    """
    import tensorrt

    engine = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR)).deserialize_cuda_engine(plan)
    if engine is None:
        raise BundleError(
            f"{file}: TensorRT {tensorrt.__version__} cannot load it. A plan runs on the kind of GPU and in the version of "
            "TensorRT that it was built with; export on this machine, or copy the file again if it was built here."
        )
    return TensorRtRunner(engine)


def _called(name: str, *arguments: Any) -> Any:
    """What a function of the CUDA runtime gives.

    Raises:
        BundleError: if it fails, with the name of CUDA's error.
    """
    from cuda.bindings import runtime

    status, *found = getattr(runtime, name)(*arguments)
    if int(status) != 0:
        raise BundleError(f"CUDA: {name} failed ({status.name}).")
    return found[0] if found else None


def _direction(word: str) -> Any:
    from cuda.bindings import runtime

    return getattr(runtime.cudaMemcpyKind, f"cudaMemcpy{word}")
