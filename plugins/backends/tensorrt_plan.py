"""From an ONNX file to a TensorRT plan: the line for trtexec, and the same build through TensorRT's Python package.

A plan belongs to one version of TensorRT and one kind of GPU. It knows ONNX only as a file that TensorRT parses.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefw.data.atomic_files import write_file
from edgefw.errors import BundleError, ExportError
from edgefw.registry.requirements import is_importable
from edgefw.user_cache import user_cache

INSTALL = 'pip install --extra-index-url https://pypi.nvidia.com "edgefw[tensorrt]"'
"""The usual registries hold only a part of TensorRT; NVIDIA's own index holds the rest."""
_WORKSPACE = 2 << 30


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The batches of a plan (from 1 to `largest`, tuned for `best`), and whether fp32 may be TF32."""

    best: int
    largest: int
    tf32: bool

    def batches(self) -> dict[str, int]:
        """Smallest, tuned and largest batch, under trtexec's words."""
        return {"min": 1, "opt": self.best, "max": self.largest}


def trtexec_line(inputs: Mapping[str, tuple[int, ...]], profile: Profile, source: str, target: str) -> str:
    """The command that builds `target` of `source`.

    The graph has its types in it, so there is neither --fp16 nor --int8, which TensorRT 11 has removed; --stronglyTyped
    is what makes TensorRT 10 keep to them, and does nothing in 11.

    Args:
        inputs: name -> (C, H, W).
        profile: batches and types.
        source: the ONNX file.
        target: the plan.
    """
    words = ["trtexec", f"--onnx={source}", f"--saveEngine={target}"]
    for word, batch in profile.batches().items():
        shapes = (f"{name}:{'x'.join(map(str, (batch, *shape)))}" for name, shape in inputs.items())
        words.append(f"--{word}Shapes={','.join(shapes)}")
    words += ["--stronglyTyped", *([] if profile.tf32 else ["--noTF32"]), "--skipInference"]
    return shlex.join(words)


def absent() -> str | None:
    """What this machine lacks to build and run plans; None if nothing."""
    if not is_importable("tensorrt"):
        return f"no tensorrt; it comes from NVIDIA's own package index ({INSTALL}), on a Jetson with JetPack"
    try:
        import tensorrt  # noqa: F401 - its own libraries may be missing
        from cuda.bindings import runtime
    except Exception as error:  # noqa: BLE001 - the dynamic linker's reason, or the package's own
        return f"tensorrt or cuda-python cannot be imported ({error})"
    status, count = runtime.cudaGetDeviceCount()
    return None if int(status) == 0 and count else "no GPU that CUDA sees"


def build_plan(source: Path, profile: Profile) -> bytes:
    """The plan of an ONNX file for the first GPU of this machine; it takes seconds to minutes.

    Raises:
        ExportError: if TensorRT cannot parse or build it.
    """
    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(source.read_bytes()):
        reasons = "; ".join(parser.get_error(number).desc() for number in range(parser.num_errors))
        raise ExportError(f"backend 'tensorrt': TensorRT cannot read the ONNX file ({reasons}).")
    plan = builder.build_serialized_network(network, _settings(tensorrt, builder, network, profile))
    if plan is None:
        raise ExportError("backend 'tensorrt': TensorRT cannot build the plan; its own messages stand above.")
    return bytes(plan)


def _settings(tensorrt: Any, builder: Any, network: Any, profile: Profile) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, _WORKSPACE)
    if not profile.tf32:
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    shapes = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        entry = network.get_input(number)
        rest = tuple(entry.shape)[1:]
        shapes.set_shape(entry.name, *((batch, *rest) for batch in profile.batches().values()))
    config.add_optimization_profile(shapes)
    return config


def cached_plan(source: Path, profile: Profile) -> bytes:
    """The plan of an ONNX file, built when this machine first opens it.

    Raises:
        BundleError: if TensorRT cannot build it.
    """
    file = user_cache() / "tensorrt" / f"{_key(source, profile)}.plan"
    if file.is_file():
        return file.read_bytes()
    try:
        plan = build_plan(source, profile)
    except ExportError as error:
        raise BundleError(f"{source}: {error}") from error
    write_file(file, lambda temporary: temporary.write_bytes(plan))
    return plan


def _key(source: Path, profile: Profile) -> str:
    """Differs where another plan is needed: file, batches, TensorRT, GPU."""
    import tensorrt
    from cuda.bindings import runtime

    status, facts = runtime.cudaGetDeviceProperties(0)
    gpu = f"{facts.name!r} {facts.major}.{facts.minor}" if int(status) == 0 else "unknown"
    content = hashlib.sha256(source.read_bytes()).hexdigest()
    return hashlib.sha256(repr((content, profile, tensorrt.__version__, gpu)).encode()).hexdigest()[:32]
