"""Which extra brings which importable package. Knows pyproject's optional dependencies by their import names."""

from __future__ import annotations

EXTRAS: dict[str, tuple[str, ...]] = {
    "train": (
        "torch",
        "torchvision",
        "timm",
        "open_clip",
        "transformers",
        "torchao",
        "accelerate",
        "onnx",
        "onnxscript",
        "pyarrow",
        "webdataset",
        "jinja2",
        "matplotlib",
    ),
    "tensorboard": ("tensorboard",),
}
"""Extra -> import names of what it installs."""


def install_command(extra: str) -> str:
    """The command that installs an extra."""
    return f'pip install "edgefw[{extra}]"'


def missing_message(module: str) -> str | None:
    """What to do about a module that cannot be imported; None if no extra of edgefw brings it."""
    package = module.split(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return f"this needs the package '{package}', which is not installed. Install it: {install_command(extra)}"
    return None
