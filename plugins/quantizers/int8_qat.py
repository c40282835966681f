"""Training-time int8: the student learns with the rounding the device will do.

Every linear layer and convolution sees its input and its weights rounded to int8 (weights symmetric per output channel,
or per layer with `per_channel: false`; activations per tensor), from the first step of the phase on; gradients pass straight through. In training the range of
an activation is that of the batch at hand, so nothing is calibrated first; what evaluation and export use is remembered
on the way. A batch norm is folded into the convolution before it, as on the device; a ReLU or ReLU6 inside the norm (as in
timm's networks) goes along, and its result is rounded to 0..255. What one layer rounded the next one does not round
again, and biases have the step of the products that they are added to. Formulas: `fake_quantise.py`.

Source: Jacob et al. 2018, arXiv:1712.05877, sections 2 and 3; Krishnamoorthi 2018, arXiv:1806.08342. EdgeVL (Cai et al.
2024, arXiv:2403.04908, stage 2) trains its students so.
Differs from EdgeVL: results of linear layers and the products inside attention stay float unless `outputs: all` is set
for the former (onnxruntime runs int8 products of float results; rounding them costs accuracy for no byte); the range of
evaluation is a moving average by default, where EdgeVL takes the maximum over two batches (`static: recent, batches:
2`). Modules are replaced, no graph is captured: torchao's PT2E bakes stochastic depth into the graph, so its evaluation
draws at random (see `insertion.py`).
Does not: quantise normalisation, softmax, activation functions, additions and tables; pick bits per layer.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.plugins.quantizers.fake_quantise import Rounding
from edgefw.plugins.quantizers.insertion import Plan, integer_copy, rounded_copy
from edgefw.registry.technique import Register


class TrainingQuantizerConfig(edgefw.TechniqueConfig):
    """Options of quantizers that work in training."""

    activation: Literal["symmetric", "affine"] = Field(
        default="symmetric", description="grid of activations: int8 around 0, or uint8 with a zero point"
    )
    per_channel: bool = Field(default=True, description="one weight scale per output channel, not per layer")
    training: Literal["dynamic", "static"] = Field(
        default="dynamic", description="range in training: of the batch at hand, or the remembered one"
    )
    static: Literal["moving-average", "recent"] = Field(
        default="moving-average", description="range of evaluation and export: an average, or the widest of `batches`"
    )
    momentum: float = Field(default=0.95, ge=0.0, lt=1.0, description="share that a moving average keeps per batch")
    batches: int = Field(default=8, ge=1, le=1024, description="last training batches that `static: recent` covers")
    outputs: Literal["none", "convolutions", "all"] = Field(
        default="convolutions", description="whose results are rounded too, besides inputs and weights"
    )
    exclude: list[str] = Field(default=[], description="shell patterns of layer names that stay float")
    freeze_norms: bool = Field(default=False, description="batch norms use their running statistics in training")
    reduce_range: bool = Field(default=False, description="7-bit weights: the fast kernel on x86 without VNNI")

    def plan(self, path: str, bits: int = 8) -> Plan:
        """What is rounded, and how."""
        rounding = Rounding(
            bits=bits,
            weight_bits=min(bits, 7) if self.reduce_range else bits,
            per_channel=self.per_channel,
            affine=self.activation == "affine",
            training=self.training,
            static=self.static,
            momentum=self.momentum,
            batches=self.batches,
        )
        return Plan(
            rounding=rounding,
            outputs=self.outputs,
            exclude=tuple(self.exclude),
            freeze_norms=self.freeze_norms,
            path=path,
        )


class Int8Qat:
    """Level "module"."""

    level = "module"
    precision = "int8-qat"

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """The network with rounded layers; it shares its parameters with the one that is given.

        Raises:
            RecipeError: if there is nothing to round.
        """
        return rounded_copy(network, example, self._plan)

    def convert(self, network: nn.Module) -> nn.Module:
        """A copy with int8 weights and static ranges; the trained network stays as it is.

        Raises:
            ExportError: if a layer was never trained.
        """
        return integer_copy(network)


def build(config: TrainingQuantizerConfig, context: edgefw.BuildContext) -> Int8Qat:
    """The quantizer."""
    return Int8Qat(config.plan(context.path or "int8-qat"))


@edgefw.hookimpl
def edgefw_register_quantizers(register: Register) -> None:
    """Offer `int8-qat`."""
    register(
        edgefw.Technique(
            name="int8-qat",
            config=TrainingQuantizerConfig,
            build=build,
            provides=frozenset({"module"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:1712.05877",
        )
    )
