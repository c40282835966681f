"""Training-time int8 that keeps the information of queries and keys (Q-ViT).

What `int8-qat` does, and before the product of every attention layer the queries and the keys are normalised by mean
and deviation, given a learnt scale and shift, and rounded with a learnt step. Formulas: `rectification.py`,
`learned_step.py`, `fake_quantise.py`. The second half of the method is the loss `distribution-guided`.

Source: Li et al. 2022, Q-ViT: Accurate and Fully Quantized Low-bit Vision Transformer, NeurIPS, arXiv:2210.06707,
information rectification module; learnt steps: Esser et al. 2020 (LSQ), arXiv:1902.08153. EdgeVL (Cai et al. 2024,
arXiv:2403.04908) has it in its stage ablation ("QViT").
Differs: learnt steps are those of queries and keys only, all other ranges are `int8-qat`'s; the attention of the network
that the phase begins with is kept (see `rectification.py`). An attention layer is a module whose queries and keys pass
children named q_norm and k_norm, by head: timm's vision transformers, its Swin, and `dat`; others stay as `int8-qat`
leaves them.
Does not: round attention weights and values, so products inside attention run in float on onnxruntime; make a file
smaller below 8 bits; hand its scales, shifts and steps on to a later phase, which begins with the float student's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.errors import RecipeError
from edgefw.plugins.quantizers.insertion import Plan, integer_copy, rounded_copy, set_module, show
from edgefw.plugins.quantizers.int8_qat import TrainingQuantizerConfig
from edgefw.plugins.quantizers.rectification import Rectification, Statistics, Steps
from edgefw.registry.technique import Register
from edgefw.training.attention import attention_layers, is_by_head


class QvitConfig(TrainingQuantizerConfig):
    """Options of Q-ViT: those of `int8-qat`, and these."""

    bits: int = Field(default=8, ge=2, le=8, description="bits of weights and activations")
    statistics: Statistics = Field(
        default="head",
        description="mean and deviation of queries and keys: per head (static on the device), or per token",
    )
    steps: Steps = Field(
        default="learned", description="step of queries and keys: trained (LSQ), or from the range like all others"
    )


class Qvit:
    """Level "module"."""

    level = "module"
    precision = "qvit"

    def __init__(self, plan: Plan, statistics: Statistics, steps: Steps) -> None:
        self._plan = plan
        self._statistics = statistics
        self._steps = steps

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """The network with rounded layers and rectified attention; it shares the float network's parameters.

        Raises:
            RecipeError: if the network has no attention layer that can be rectified.
        """
        made = rounded_copy(network, example, self._plan)
        places = _places(made, example)
        if not places:
            raise RecipeError(self._nothing(network))
        for name, shape in places.items():
            if not any(fnmatchcase(name, pattern) for pattern in self._plan.exclude):
                set_module(made, name, self._rectification(made.get_submodule(name), shape))
        return made

    def convert(self, network: nn.Module) -> nn.Module:
        """A copy with int8 weights and static ranges; the trained network stays as it is.

        Raises:
            ExportError: if a layer was never trained.
        """
        made = integer_copy(network)
        for name, module in list(made.named_modules()):
            if isinstance(module, Rectification):
                set_module(made, name, module.converted(name))
        return made.eval().requires_grad_(False)

    def _rectification(self, before: nn.Module, shape: tuple[int, ...]) -> Rectification:
        heads, depth = shape[-3], shape[-1]
        made = Rectification(before, heads, depth, self._plan.rounding, self._statistics, self._steps)
        return made.train(before.training)

    def _nothing(self, network: nn.Module) -> str:
        trunk: Any = getattr(network, "trunk", network)
        return (
            f"{self._plan.path}: 'qvit' rectifies queries and keys, and {type(getattr(trunk, 'backbone', trunk)).__name__} "
            "has no attention layer with q_norm and k_norm. Use quantizer: {name: int8-qat} for this student, or a student "
            "with attention: vit_small_patch16_224 or swin_tiny_patch4_window7_224 of timm, or dat."
        )


def _places(network: nn.Module, example: Tensor) -> Mapping[str, tuple[int, ...]]:
    """Names of the modules that queries and keys pass, with the shapes (..., heads, N, d) of an example."""
    found: dict[str, tuple[int, ...]] = {}

    def watch(name: str, layer: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if is_by_head(layer, output):
                found[name] = tuple(output.shape)

        return hook

    hooks = [
        getattr(layer, place).register_forward_hook(watch(f"{name}.{place}" if name else place, layer))
        for name, layer in attention_layers(network).items()
        for place in ("q_norm", "k_norm")
    ]
    try:
        show(network, example)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def build(config: QvitConfig, context: edgefw.BuildContext) -> Qvit:
    """The quantizer."""
    return Qvit(config.plan(context.path or "qvit", config.bits), config.statistics, config.steps)


@edgefw.hookimpl
def edgefw_register_quantizers(register: Register) -> None:
    """Offer `qvit`."""
    register(
        edgefw.Technique(
            name="qvit",
            config=QvitConfig,
            build=build,
            provides=frozenset({"module"}),
            needs=frozenset({"student.attention"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2210.06707",
        )
    )
