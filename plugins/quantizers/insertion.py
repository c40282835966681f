"""Puts rounded layers into a network, and integer layers in their place for export. The network keeps its structure.

A captured graph (torchao's PT2E) bakes in what training draws at random: stochastic depth goes on in evaluation, and
batch norms change their mode by rewriting the whole graph. Modules are replaced instead, so all of that stays what it
was. What follows what is seen by running an example once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from edgefw.errors import RecipeError
from edgefw.plugins.quantizers.fake_quantise import RoundedActivation, RoundedBefore, Rounding
from edgefw.plugins.quantizers.rounded_layers import RoundedConv, RoundedLayer, RoundedLinear

Replace = Callable[[str, nn.Module], nn.Module | None]
"""A layer's own replacement by (name, layer), or None for the usual one."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is rounded.

    Attributes:
        rounding: bits and ranges.
        outputs: whose results are rounded too.
        exclude: shell patterns of layer names that stay float.
        freeze_norms: batch norms use their running statistics in training.
        path: of the quantizer in the recipe, for messages.
    """

    rounding: Rounding
    outputs: Literal["none", "convolutions", "all"] = "convolutions"
    exclude: Sequence[str] = ()
    freeze_norms: bool = False
    path: str = "quantizer"


def rounded_copy(network: nn.Module, example: Tensor, plan: Plan, replace: Replace | None = None) -> nn.Module:
    """The network with rounded layers; parameters and batch norms are those of `network` itself, not copies.

    Args:
        network: any module; it is left as it is.
        example: (B, C, S, S), shown once to see which layers run and which batch norm follows which convolution.
        plan: what is rounded.
        replace: chooses other replacements for some layers.

    Raises:
        RecipeError: if a pattern matches no layer, or nothing is left to round.
    """
    made = _shared_copy(network)
    seen = _watch(made, example, plan)
    names = _chosen(seen.ran, plan)
    if "" in names:  # the network is one layer
        return (replace and replace("", made)) or _rounded(made, plan, None)
    for name in names:
        layer = seen.ran[name]
        other = None if replace is None else replace(name, layer)
        set_module(made, name, other or _rounded(layer, plan, seen.norm_after(name)))
        follower = seen.follower.get(name)
        if follower is not None and other is None:
            set_module(made, follower, _after_norm(seen.norms[follower], plan))
    _round_once(made, seen.source)
    return made


def _round_once(network: nn.Module, source: Mapping[str, str]) -> None:
    """An input that is nothing but another layer's rounded result is not rounded again."""
    layers = {name: module for name, module in network.named_modules() if isinstance(module, RoundedLayer)}
    for name, before in source.items():
        giver = layers[before].output if name in layers and before in layers else None
        if isinstance(giver, RoundedActivation):
            layers[name].input = RoundedBefore(giver)


def integer_copy(network: nn.Module) -> nn.Module:
    """A copy with integer layers, in evaluation mode; the network is left as it is.

    Raises:
        ExportError: if a layer was never trained.
    """
    made = copy.deepcopy(network).eval().requires_grad_(False)
    if isinstance(made, RoundedLayer):
        return cast(nn.Module, made.converted("network"))
    for name, module in list(made.named_modules()):
        if isinstance(module, RoundedLayer):
            set_module(made, name, module.converted(name))
    return made.eval()


def set_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Replace a module by its dotted name."""
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)


@dataclass
class _Seen:
    """What ran: layers that can be rounded, batch norms; which norm follows a convolution, which layer gives an input."""

    ran: dict[str, nn.Module] = field(default_factory=dict)
    norms: dict[str, nn.BatchNorm2d] = field(default_factory=dict)
    follower: dict[str, str] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)

    def norm_after(self, name: str) -> nn.BatchNorm2d | None:
        """The batch norm that a convolution takes along."""
        return self.norms[self.follower[name]] if name in self.follower else None


def _shared_copy(network: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {id(parameter): parameter for parameter in network.parameters()}
    memo |= {id(module): module for module in network.modules() if isinstance(module, nn.BatchNorm2d)}
    return copy.deepcopy(network, memo)


class _Made:
    """Which layer's result a tensor is, as long as nobody wrote into it."""

    def __init__(self) -> None:
        self._tensors: dict[int, tuple[str, Tensor, int]] = {}  # held, so that no other gets the same id

    def add(self, name: str, output: Tensor) -> None:
        """Remember a result."""
        self._tensors[id(output)] = (name, output, output._version)

    def by(self, values: Tensor) -> str | None:
        """The layer, or None."""
        name, _, version = self._tensors.get(id(values), (None, None, 0))
        return name if values._version == version else None


def _watch(network: nn.Module, example: Tensor, plan: Plan) -> _Seen:
    seen, calls, made, hooks = _Seen(), dict[str, int](), _Made(), list[Any]()

    def after_layer(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            seen.ran[name] = module
            calls[name] = calls.get(name, 0) + 1
            before = made.by(inputs[0])
            if before is not None:
                seen.source[name] = before
            made.add(name, output)

        return hook

    def before_norm(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            seen.norms[name] = cast(nn.BatchNorm2d, module)
            calls[name] = calls.get(name, 0) + 1
            source = made.by(inputs[0])
            if source is not None and isinstance(seen.ran[source], nn.Conv2d):
                seen.follower[source] = name

        return hook

    def after_norm(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            source = next((conv for conv, norm in seen.follower.items() if norm == name), None)
            if source is not None and not _after_norm(cast(nn.BatchNorm2d, module), plan):
                made.add(source, output)

        return hook

    for name, module in network.named_modules():
        if can_be_rounded(module):
            hooks.append(module.register_forward_hook(after_layer(name)))
        elif can_be_folded(module):
            hooks.append(module.register_forward_pre_hook(before_norm(name)))
            hooks.append(module.register_forward_hook(after_norm(name)))
    try:
        show(network, example)
    finally:
        for handle in hooks:
            handle.remove()
    once = {name for name, count in calls.items() if count == 1}
    unfolded = {a for a, b in seen.follower.items() if not {a, b} <= once}
    seen.follower = {a: b for a, b in seen.follower.items() if a not in unfolded}
    seen.source = {a: b for a, b in seen.source.items() if {a, b} <= once and b not in unfolded}
    return seen


@torch.no_grad()
def show(network: nn.Module, example: Tensor) -> None:
    """Run an example in evaluation mode, on the network's device; modes are as before in the end."""
    modes = [(module, module.training) for module in network.modules()]
    parameter = next(network.parameters(), None)
    network.eval()
    try:
        network(example if parameter is None else example.to(parameter.device))
    finally:
        for module, training in modes:
            module.training = training


def can_be_rounded(module: nn.Module) -> bool:
    """Linear layers and convolutions; of subclasses only those that differ in their padding."""
    return type(module) in (nn.Linear, nn.Conv2d) or type(module).__name__ == "Conv2dSame"


def can_be_folded(module: nn.Module) -> bool:
    """Batch norms with running statistics: torch's own, and timm's with an activation."""
    known = type(module) is nn.BatchNorm2d or type(module).__name__ == "BatchNormAct2d"
    return known and getattr(module, "running_var", None) is not None


def _chosen(ran: dict[str, nn.Module], plan: Plan) -> list[str]:
    for pattern in plan.exclude:
        if not any(fnmatchcase(name, pattern) for name in ran):
            some = ", ".join(list(ran)[:5])
            raise RecipeError(f"{plan.path}.exclude: '{pattern}' matches no layer. Layers: {some}, ...")
    names = [name for name in ran if not any(fnmatchcase(name, pattern) for pattern in plan.exclude)]
    if not names:
        raise RecipeError(
            f"{plan.path}: nothing to quantise: the student has no linear layer and no convolution outside "
            f"exclude ({', '.join(plan.exclude) or 'empty'}). Exclude less, or train without a quantizer."
        )
    return names


def _rounded(layer: nn.Module, plan: Plan, norm: nn.BatchNorm2d | None) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        rectify = None if norm is None else _rectify(norm, plan)
        return RoundedConv(layer, plan.rounding, plan.outputs != "none", norm, plan.freeze_norms, rectify)
    return RoundedLinear(layer, plan.rounding, plan.outputs == "all")


def _after_norm(norm: nn.BatchNorm2d, plan: Plan) -> nn.Sequential:
    """What a batch norm does besides: nothing, or timm's drop and activation, but for a ReLU that the convolution takes."""
    rest = _rest(norm)
    return nn.Sequential(*([] if _rectify(norm, plan) is not None else rest))


def _rest(norm: nn.BatchNorm2d) -> list[nn.Module]:
    rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    return [module for module in rest if not isinstance(module, nn.Identity)]


def _rectify(norm: nn.BatchNorm2d, plan: Plan) -> nn.Module | None:
    """The ReLU or ReLU6 that is all a batch norm does besides, where results are rounded."""
    rest = _rest(norm)
    taken = len(rest) == 1 and type(rest[0]) in (nn.ReLU, nn.ReLU6) and plan.outputs != "none"
    return rest[0] if taken else None
