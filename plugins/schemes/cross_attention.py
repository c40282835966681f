"""A second sensor looks at the RGB image through an adapter, beside both alone.

Idea: the adapter of EdgeVL's successor. The shared student of `dual-modality`, and one multi-head cross-attention from the cells of
the other sensor's last map (queries) to those of the RGB map of the same scene (keys and values), with a residual connection:
    tokens' = tokens(x') + MHA(tokens(x'), tokens(x)),   adapted s(x') = head(mean of tokens')
    L = L(s(x)) + L(s(x')) + L(adapted s(x'))
The rows of a batch are all images that are present, then one per pair of x' and x of a sample; all have the teacher's
answer about the RGB image as target. A sample without one of the two has no adapted row. Exported are the student, which
takes one image of any modality, and one graph per pair ("rgb+depth"), which takes both.
Source: Jeon et al., Efficient Quantization-Aware Distillation with Cross-Modal Alignment for Edge VLMs, section 3; the attention is
that of Vaswani et al. 2017, arXiv:1706.03762.
Inferred (the paper's text has the five facts of the formula and no more): tokens are the cells of the student's last map,
without class tokens and position codes; no norm and no feed-forward layer; 8 heads; W_o starts at zero; gradients go into
both images. The mean of the adapted tokens is the student's own pooled vector plus the mean of what attention adds:
the same where a student pools by the mean; for others (class token, a layer between map and pooled vector) the own vector
keeps its meaning, and a matrix brings the addition to its width where that is another one. Several other modalities share the
adapter, as they share the student.
Differs: a loss takes all rows of a batch together, where the paper has three sums. Adapted rows count as rows of x'.
Does not: carry the adapter into a later phase, where it starts anew; or say which answer about x' the paper's tables hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.contracts.scheme import Batch, Signature, together
from edgefw.contracts.student import MapSpec, StudentOutput, StudentSpec
from edgefw.errors import RecipeError
from edgefw.plugins.schemes.attention_adapter import AttentionAdapter, fitting_heads, tokens_of
from edgefw.plugins.schemes.hybrid_mixup import check_source
from edgefw.registry.technique import Register
from edgefw.training.rows import forward_rows, join_rows, rows_of_modality


class CrossAttentionConfig(edgefw.TechniqueConfig):
    """Options of the scheme."""

    heads: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None, description="attention heads; null: 8, or the largest number below that divides the width"
    )
    width: Annotated[int, Field(ge=1, le=8192)] | None = Field(
        default=None, description="numbers of queries, keys and values; null: the channels of the student's map"
    )
    source: str = Field(default="rgb", description="modality that the others look at")


class Adapted(nn.Module):
    """The student beside the adapter; as a network it is the student."""

    def __init__(self, student: nn.Module, adapter: nn.Module, lift: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.adapter = adapter
        self.lift = lift

    @property
    def spec(self) -> StudentSpec:
        """The numbers of the student."""
        return cast(StudentSpec, self.student.spec)

    def forward(self, pixels: Tensor) -> StudentOutput:
        """What the student says about images of one modality."""
        output: StudentOutput = self.student(pixels)
        return output

    def adapted(self, own: StudentOutput, other: StudentOutput) -> StudentOutput:
        """What is said about B images that look at B others; maps must be there."""
        assert own.map is not None and other.map is not None
        added = self.adapter(tokens_of(own.map, other.map))  # (B, N, C)
        pooled = own.pooled + self.lift(added.mean(dim=1))
        head: Any = self.student.head
        return StudentOutput(head(pooled), pooled, own.map + added.transpose(1, 2).unflatten(2, own.map.shape[2:]))


class CrossAttention:
    """One student for every modality, and an adapter for pairs."""

    def __init__(self, config: CrossAttentionConfig, modalities: Sequence[str], seed: int, path: str) -> None:
        self.config = config
        self.modalities = tuple(modalities)
        self.seed = seed
        self.path = path

    def network(self, student: nn.Module) -> Adapted:
        """The student and a new adapter; the caller's random state is left as it was.

        Raises:
            RecipeError: if the student has no map, hides its head, or the heads do not divide the width.
        """
        spec, head = getattr(student, "spec", None), getattr(student, "head", None)
        if spec is None or head is None:
            raise RecipeError(
                f"{self.path}: 'cross-attention' needs the student's own head and numbers, and the quantizer hides them. "
                "Use int8-qat, or train without a quantizer."
            )
        if spec.map is None:
            raise RecipeError(
                f"{self.path}: 'cross-attention' needs a student with a map or tokens, and this one has none. Use another "
                "student, or scheme: {name: dual-modality}."
            )
        width, heads = self._shape(spec.map)
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(self.seed)
            adapter, lift = AttentionAdapter(spec.map.channels, width, heads), _lift(spec)
        return Adapted(student, adapter, lift)

    def _shape(self, map: MapSpec) -> tuple[int, int]:
        width = self.config.width or map.channels
        heads = self.config.heads or fitting_heads(width)
        if width % heads:
            fitting = ", ".join(str(number) for number in range(1, min(width, 64) + 1) if width % number == 0)
            raise RecipeError(f"{self.path}.heads: {heads} does not divide the width {width}. Choose from: {fitting}.")
        return width, heads

    def extras(self, network: nn.Module) -> Mapping[str, Tensor]:
        """The adapter's parts, which are exported with the student."""
        own: Any = network
        spec: StudentSpec = own.spec
        assert spec.map is not None
        draw = torch.Generator().manual_seed(0)
        cells = spec.map.grid[0] * spec.map.grid[1]
        parts = {"adapter": torch.randn(2, 2, cells, spec.map.channels, generator=draw)}
        if not isinstance(own.lift, nn.Identity):
            parts["lift"] = torch.randn(2, spec.map.channels, generator=draw)
        return parts

    def forward(self, network: nn.Module, batch: Batch) -> LossInput:
        """One row per image that is present, then one per image that has its source image beside it."""
        plain = forward_rows(network, batch, self.modalities, self.modalities)
        parts = [plain]
        for name in self._others():
            pairs = batch.present[self.config.source] & batch.present[name]
            if bool(pairs.any()):
                parts.append(self._adapted(network, batch, name, pairs, plain))
        return join_rows(parts)

    def _adapted(self, network: Any, batch: Batch, name: str, pairs: Tensor, plain: LossInput) -> LossInput:
        own, other = (
            rows_of_modality(plain, self.modalities.index(kind), pairs[batch.present[kind]])
            for kind in (name, self.config.source)
        )
        both = replace(batch, present={name: pairs})
        return forward_rows(lambda _: network.adapted(own, other), both, (name,), self.modalities)

    def embed(self, network: nn.Module, modality: str, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of images of any modality, each alone."""
        embedding: Tensor = network(pixels).embedding
        return embedding

    def embed_together(self, network: Any, images: Mapping[str, Tensor]) -> Tensor:
        """Embeddings (B, D) of images of the other modality that look at their source images.

        The student sees both in one batch: its weights stand in an exported graph once.
        """
        (name,) = (kind for kind in images if kind != self.config.source)
        said: StudentOutput = network(torch.cat([images[name], images[self.config.source]]))
        count = images[name].shape[0]
        own, other = said.each(lambda part: part[:count]), said.each(lambda part: part[count:])
        embedding: Tensor = network.adapted(own, other).embedding
        return embedding

    def signatures(self, modalities: Sequence[str]) -> Sequence[Signature]:
        """One graph that takes one image of any modality, and one for each other modality beside the source."""
        pairs = [(self.config.source, name) for name in modalities if name in self._others()]
        return (
            Signature(name="encoder", inputs=(modalities[0],), serves=tuple(modalities)),
            *(Signature(name=together(pair), inputs=pair, serves=pair) for pair in pairs),
        )

    def _others(self) -> tuple[str, ...]:
        return tuple(name for name in self.modalities if name != self.config.source)


def _lift(spec: StudentSpec) -> nn.Module:
    """From the channels of the map to the width of pooled features."""
    assert spec.map is not None
    same = spec.map.channels == spec.width
    return nn.Identity() if same else nn.Linear(spec.map.channels, spec.width, bias=False)


def build(config: CrossAttentionConfig, context: edgefw.BuildContext) -> CrossAttention:
    """The scheme.

    Raises:
        RecipeError: if the source is not one of the recipe's modalities, or the only one.
    """
    check_source(config.source, context.modalities)
    if len(context.modalities) < 2:
        raise RecipeError(f"the recipe has one modality, {config.source}: nothing can look at it. Add another.")
    return CrossAttention(config, context.modalities, context.seed, context.path or "scheme")


@edgefw.hookimpl
def edgefw_register_schemes(register: Register) -> None:
    """Offer the scheme."""
    register(
        edgefw.Technique(
            name="cross-attention",
            config=CrossAttentionConfig,
            build=build,
            needs=frozenset({"teacher.embedding", "student.map", "run.pairs"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:1706.03762",
        )
    )
