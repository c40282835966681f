"""Which optional packages a technique wants, whether they are there, and how to get them.

Knows pyproject's extras by their import names; refuses to import any of them.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from edgefw.registry.source_files import find_module

if TYPE_CHECKING:
    from edgefw.registry.technique import Technique

EXTRAS: dict[str, dict[str, str]] = {
    "train": {
        "torch": "torch",
        "torchvision": "torchvision",
        "timm": "timm",
        "open_clip": "open_clip_torch",
        "transformers": "transformers",
        "torchao": "torchao",
        "accelerate": "accelerate",
        "onnx": "onnx",
        "onnxscript": "onnxscript",
        "pyarrow": "pyarrow",
        "webdataset": "webdataset",
        "jinja2": "jinja2",
        "matplotlib": "matplotlib",
    },
    "executorch": {"executorch": "executorch", "torch": "torch"},
    "few-shot": {"sklearn": "scikit-learn"},
    "huggingface": {"datasets": "datasets"},
    "litert": {"ai_edge_litert": "ai-edge-litert"},
    "multispectral": {"tifffile": "tifffile"},
    "nncf": {"nncf": "nncf"},
    "ncnn": {"ncnn": "ncnn", "pnnx": "pnnx"},
    "openvino": {"openvino": "openvino"},
    "prepare": {"h5py": "h5py", "scipy": "scipy", "tifffile": "tifffile"},
    "tensorboard": {"tensorboard": "tensorboard"},
    "tensorrt": {"tensorrt": "tensorrt", "cuda": "cuda-python"},
    "video": {"cv2": "opencv-python-headless"},
}
"""Extra -> import name -> distribution name of what it installs."""


def is_importable(package: str) -> bool:
    """Whether an import of the top-level package would find something; nothing is executed."""
    return find_module(package.split(".")[0]) is not None


def version_of(package: str) -> str | None:
    """The installed version of what an import name belongs to; None if it is not installed or not known."""
    name = next((extra[package] for extra in EXTRAS.values() if package in extra), package)
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def missing_requirements(technique: Technique[Any, Any]) -> tuple[str, ...]:
    """The import names of `technique.requires` that cannot be imported."""
    return tuple(package for package in technique.requires if not is_importable(package))


def install_command(extra: str) -> str:
    """The command that installs an extra."""
    return f'pip install "edgefw[{extra}]"'


def how_to_get(module: str) -> str | None:
    """The command that installs a module that cannot be imported; None if no extra of edgefw brings it."""
    package = module.split(".")[0]
    return next((install_command(extra) for extra, packages in EXTRAS.items() if package in packages), None)
