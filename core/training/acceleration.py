"""The one place that talks to Hugging Face Accelerate: device, mixed precision, processes.

It checks that the recipe's `compute` section can be had, and gives the loop an `Accelerator`. It knows no model.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import Tensor

from edgefw.errors import EdgefwWarning, TrainingError
from edgefw.processes import uses_cpu
from edgefw.processor import lacks_bf16

if TYPE_CHECKING:
    from edgefw.recipe.schema import Compute

_ALONE = (DistributedType.NO,)
_PARALLEL = (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


def accelerator(compute: Compute) -> Accelerator:
    """An accelerator for one phase.

    Raises:
        TrainingError: if the device or the precision cannot be had here, or the launcher asks for a way of splitting
            the model that this loop has not.
    """
    _check_device(compute)
    precision = "no" if compute.precision == "fp32" else compute.precision
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()  # an earlier phase in this process ran in another precision
    if compute.device.startswith("cuda:"):
        torch.cuda.set_device(compute.device)
    made = Accelerator(
        cpu=uses_cpu(compute.device),
        mixed_precision=precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    _check_made(made, compute)
    _warn_of_slow_bf16(made, compute)
    return made


def _warn_of_slow_bf16(made: Accelerator, compute: Compute) -> None:
    on_cpu = made.device.type == "cpu" and made.is_main_process
    if on_cpu and compute.precision == "bf16" and lacks_bf16():
        warnings.warn(
            "compute.precision: bf16 saves memory, but this processor has no instructions for it, and a step may take "
            "several times as long as in fp32. For speed use fp32.",
            EdgefwWarning,
            stacklevel=3,
        )


def _check_device(compute: Compute) -> None:
    device = compute.device
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        if torch.cuda.device_count() <= index:
            raise TrainingError(
                f"compute.device: {device} is not there ({torch.cuda.device_count()} CUDA devices). Use cpu or auto."
            )
        if ":" in device and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise TrainingError(f"compute.device: {device} for several processes. Use cuda: each gets a device.")
    if device == "mps" and not torch.backends.mps.is_available():
        raise TrainingError("compute.device: mps is not there. Use cpu or auto.")


def _check_made(made: Accelerator, compute: Compute) -> None:
    if made.device.type == "cpu" and compute.precision == "fp16":
        raise TrainingError("compute.precision: fp16 needs a GPU. Use bf16 or fp32 on the CPU.")
    if made.distributed_type not in _ALONE + _PARALLEL:
        raise TrainingError(
            f"the launcher asks for {made.distributed_type.value}; training runs in one process or data-parallel. "
            "Start it with `accelerate launch --multi_gpu` or with torchrun, without FSDP or DeepSpeed."
        )
    if uses_cpu(compute.device) and "MASTER_PORT" in os.environ and "WORLD_SIZE" not in os.environ:
        raise TrainingError(
            "`accelerate launch --cpu` has started one process, not several. Use torchrun --nproc_per_node N, or "
            "accelerate launch --multi_gpu --num_processes N, with compute.device=cpu."
        )
    if int(os.environ.get("WORLD_SIZE", "1")) != made.num_processes:
        raise TrainingError(
            f"{os.environ['WORLD_SIZE']} processes were launched, but they did not find each other. "
            "Set compute.device=cpu for processes on the CPU."
        )


def mean_over_processes(values: Tensor, processes: int) -> Tensor:
    """The mean of a tensor over all processes; the tensor itself when there is one process."""
    if processes == 1:
        return values
    return sum_over_processes(values, processes) / processes


def sum_over_processes(values: Tensor, processes: int) -> Tensor:
    """The sum of a tensor over all processes; the tensor itself when there is one process."""
    if processes > 1:
        values = values.clone()
        torch.distributed.all_reduce(values)
    return values


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """CPU threads of PyTorch inside the block; None leaves them alone."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
