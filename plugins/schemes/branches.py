"""Several copies of a student that share their upper part: own lower stages, one common rest.

A copy is made around the shared modules and parameters: each branch is a whole student, and what is shared is the same
object in all of them. Where the lower part ends is found by running one black image and watching which modules have
finished when the chosen stage has. Knows modules; refuses to know modalities, losses and data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgefw.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where a student is split: full names of its `stages`, how many of them are `own`, and all `lower` modules.

    `boundary` is the module whose output is the last one of the lower part.
    """

    stages: tuple[str, ...]
    own: int
    boundary: str
    lower: frozenset[str]


def find_split(student: nn.Module, fraction: float, where: str) -> Split:
    """Split a student after a fraction of its stages; at 0 the stem alone is below.

    Args:
        student: a `StudentNetwork`; it is run once, in evaluation mode, and left as it was.
        fraction: of the stages, from 0 to below 1; rounded to the nearest stage, at least one stays above.
        where: option that says so, for messages.

    Raises:
        RecipeError: if the student has no stages, or one module works on both sides of the split.
    """
    trunk = getattr(student, "trunk", None)
    if trunk is None:
        raise RecipeError(
            f"{where}: this needs the student's own stages, and a quantizer hides them. Train without it."
        )
    stages = _stages(trunk, where)
    own = min(round(fraction * len(stages)), len(stages) - 1)
    calls = _calls(trunk, trunk.spec.input)
    boundary = stages[own - 1] if own else _before(calls, stages[0], where)
    if boundary not in calls:
        raise RecipeError(f"{where}: '{boundary}' never runs as a module of its own. Choose another fraction.")
    at = calls.index(boundary)
    lower = frozenset(name for name in calls[: at + 1] if not _is_part(stages[own], name))
    _refuse_reuse(trunk, lower, calls[at + 1 :], where)
    return Split(
        stages=tuple(stages), own=own, boundary=f"trunk.{boundary}", lower=frozenset(f"trunk.{n}" for n in lower)
    )


def branch(student: nn.Module, split: Split) -> nn.Module:
    """A student with a copy of the lower part of its own; everything else is the very same as in `student`."""
    shared = _shared(student, split.lower)
    return deepcopy(student, {id(part): part for part in shared})


def freeze_upper(student: nn.Module, split: Split) -> None:
    """Stop the training of all that is not below the split."""
    own = {id(p) for name in split.lower for p in student.get_submodule(name).parameters()}
    for parameter in student.parameters():
        if id(parameter) not in own:
            parameter.requires_grad_(False)


def widen_stem(student: nn.Module, channels: int, where: str) -> None:
    """Let a student take n channels: its first convolution is inflated in place.

    Each of the n kernels is the mean of the old ones times old / n, so that n equal channels give what they gave before.

    Raises:
        RecipeError: if the first layer that sees the image is no plain convolution.
    """
    trunk: Any = student.trunk
    first = next((name for name in _calls(trunk, trunk.spec.input) if not list(trunk.get_submodule(name).children())
                  and list(trunk.get_submodule(name).parameters())), "")  # fmt: skip
    layer = trunk.get_submodule(first)
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1 or layer.in_channels != trunk.spec.input.channels:
        raise RecipeError(
            f"{where}: the student begins with {type(layer).__name__}, which cannot take {channels} channels."
        )
    with torch.no_grad():
        kernels = layer.weight.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1) * (layer.in_channels / channels)
    layer.weight = nn.Parameter(kernels.contiguous())
    layer.in_channels = channels


def _stages(trunk: nn.Module, where: str) -> list[str]:
    """Names of the stages: those timm states, else the parts of the longest sequence, or of the trunk itself."""
    backbone = getattr(trunk, "backbone", trunk)
    prefix = "backbone." if backbone is not trunk else ""
    stated = getattr(backbone, "feature_info", None)
    found = [str(entry.get("module", "")) for entry in stated] if isinstance(stated, list) else []
    known = dict(trunk.named_modules())
    names = [f"{prefix}{name}" for name in found if _has_parameters(known.get(f"{prefix}{name}"))]
    if len(names) < 2:
        names = max((_parts(name, module) for name, module in known.items()), key=len, default=[])
    if len(names) < 2:
        raise RecipeError(
            f"{where}: {type(backbone).__name__} has no sequence of stages to split. Use a student with stages or "
            "blocks, such as timm's resnet18, swin_tiny_patch4_window7_224 or vit_small_patch16_224."
        )
    return names


def _parts(name: str, module: nn.Module) -> list[str]:
    if name and not isinstance(module, (nn.Sequential, nn.ModuleList)):
        return []
    prefix = f"{name}." if name else ""
    return [f"{prefix}{child}" for child, part in module.named_children() if _has_parameters(part)]


def _has_parameters(module: nn.Module | None) -> bool:
    return module is not None and any(True for _ in module.parameters())


def _calls(trunk: nn.Module, input: Any) -> list[str]:
    """Names of the modules in the order in which their forward passes end; one that runs twice is there twice."""
    order: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: order.append(name))
        for name, module in trunk.named_modules()
        if name
    ]
    training = {module: module.training for module in trunk.modules()}
    try:
        with torch.no_grad():
            trunk.eval()(torch.zeros(1, input.channels, input.size, input.size))
    finally:
        for hook in hooks:
            hook.remove()
        for module, was in training.items():
            module.training = was
    return order


def _before(calls: Sequence[str], stage: str, where: str) -> str:
    """The last module with its forward pass over before the first stage begins."""
    inside = [at for at, name in enumerate(calls) if _is_part(stage, name)]
    if not inside or inside[0] == 0:
        raise RecipeError(f"{where}: nothing runs before the first stage '{stage}'. Use a larger fraction.")
    return calls[inside[0] - 1]


def _is_part(whole: str, name: str) -> bool:
    return name == whole or name.startswith(f"{whole}.")


def _refuse_reuse(trunk: nn.Module, lower: frozenset[str], later: Sequence[str], where: str) -> None:
    below = {id(p) for name in lower for p in trunk.get_submodule(name).parameters()}
    for name in later:
        if any(id(p) in below for p in trunk.get_submodule(name).parameters(recurse=False)):
            raise RecipeError(f"{where}: module '{name}' works below and above the split. Choose another fraction.")


def _shared(student: nn.Module, lower: frozenset[str]) -> Iterator[Any]:
    """Modules, parameters and buffers that branches have in common; those above a lower module are no such thing."""
    mixed = {name.rpartition(".")[0] for name in lower} | {""}
    mixed |= {".".join(name.split(".")[:depth]) for name in lower for depth in range(1, name.count(".") + 1)}
    for name, module in student.named_modules():
        if any(_is_part(own, name) for own in lower):
            continue
        if name not in mixed:
            yield module
        yield from module.parameters(recurse=False)
        yield from module.buffers(recurse=False)


def middle(student: nn.Module, split: Split, pixels: Tensor) -> tuple[Any, Tensor]:
    """What a student says, and what its lower part hands on."""
    seen: list[Tensor] = []
    hook = student.get_submodule(split.boundary).register_forward_hook(lambda *call: seen.append(call[2]))
    try:
        output = student(pixels)
    finally:
        hook.remove()
    return output, seen[0]
