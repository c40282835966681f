"""Several teachers as one: unit embeddings, weighted, side by side.

Idea: image and text embeddings of every member are brought to unit length, multiplied by the root of the member's weight
and concatenated, images and texts alike, so that the ensemble's cosine is the weighted mean of its members' cosines:
    e(x) = [sqrt(w_1) e_1(x), ..., sqrt(w_M) e_M(x)],   w_m = weight_m / sum of weights
    cos(e(x), e(t)) = sum over m of w_m cos(e_m(x), e_m(t)),   |e(x)| = 1,   D = D_1 + ... + D_M
Source: Radford et al. 2021, arXiv:2103.00020, section 3.1.4, who average prompts in the space of embeddings. Here whole
teachers are averaged; their spaces differ, so that vectors are concatenated, which averages scalar products.

Members may see different pictures: each has its own preprocessing, untouched, and the results lie side by side in one
tensor, at the top, zeros below smaller ones; members of equal preprocessing share one. Members are teachers that read text.
`logit_scale` is the weighted mean of the members' unless it is given.
Does not: give tokens; learn weights; even out members whose cosines are spread differently (a weight counts cosines, not
probabilities: to average logits, give weights proportional to w_m s_m, with s_m the members' logit scales).
Licence of the weights: those of the members, all of which are named; each member states its own.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from PIL import Image
from pydantic import ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import normalize

import edgefw
from edgefw.contracts.licence import unlicensed
from edgefw.contracts.teacher import Teacher, TeacherOutput, TeacherSpec
from edgefw.errors import RecipeError
from edgefw.plugins.licences import Licence
from edgefw.registry.technique import Register


class Member(edgefw.TechniqueConfig):
    """A teacher by name, with its options beside the name, and its weight."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="name of a teacher, see `edgefw list-plugins --kind teacher`")
    weight: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(
        default=1.0, description="share in the cosine, before the weights are divided by their sum"
    )
    licence: Licence = None

    @property
    def options(self) -> dict[str, Any]:
        """The member's own options: what stands beside name and weight."""
        stated = {} if self.licence is None else {"licence": self.licence}
        return {**(self.model_extra or {}), **stated}


class EnsembleConfig(edgefw.TechniqueConfig):
    """Options of an ensemble."""

    members: Annotated[list[Member], Field(min_length=2)] = Field(
        description="teachers: name, weight, and each one's own options"
    )
    logit_scale: Annotated[float, Field(gt=0.0, le=1000.0)] | None = Field(
        default=None, description="factor on cosines before a softmax over texts; null: weighted mean of the members'"
    )

    @property
    def shares(self) -> list[float]:
        """The weights, divided by their sum."""
        whole = math.fsum(member.weight for member in self.members)
        return [member.weight / whole for member in self.members]


class Layout:
    """Where each member's picture lies in one tensor (3, height of the tallest, widths in a row).

    Attributes:
        owners: numbers of the members whose preprocessing is run, one for each different picture.
        size: (height, width) of the whole.
    """

    def __init__(self, specs: Sequence[TeacherSpec]) -> None:
        seen = [next(other for other in range(at + 1) if _alike(specs, other, at)) for at in range(len(specs))]
        self.owners = sorted(set(seen))
        sizes = [specs[owner].image_size for owner in self.owners]
        lefts = {owner: sum(width for _, width in sizes[:at]) for at, owner in enumerate(self.owners)}
        self.size = max(height for height, _ in sizes), sum(width for _, width in sizes)
        self._places = [(*specs[at].image_size, lefts[owner]) for at, owner in enumerate(seen)]

    def of(self, member: int, pixels: Tensor) -> Tensor:
        """The part (..., height, width) of pixels (..., *size) that one member sees."""
        height, width, left = self._places[member]
        return pixels[..., :height, left : left + width]


def _alike(specs: Sequence[TeacherSpec], one: int, other: int) -> bool:
    """Whether two members prepare pictures in the same way; one that does not say how is like no other."""
    first, second = specs[one], specs[other]
    stated = bool(first.preprocessing) and first.preprocessing == second.preprocessing
    return one == other or (stated and first.image_size == second.image_size)


class EnsembleTeacher:
    """Teachers side by side, frozen."""

    def __init__(self, members: Sequence[Teacher], shares: Sequence[float], spec: TeacherSpec) -> None:
        self.module: nn.Module = nn.ModuleList([member.module for member in members]).requires_grad_(False).eval()
        self.spec = spec
        self._members = tuple(members)
        self._roots = [math.sqrt(share) for share in shares]
        self._layout = Layout([member.spec for member in members])

    def preprocess(self, image: Image.Image) -> Tensor:
        """What every member's own preprocessing makes of one picture, side by side: (3, H, W) float32."""
        pixels = torch.zeros(3, *self.spec.image_size)
        for owner in self._layout.owners:
            self._layout.of(owner, pixels).copy_(self._members[owner].preprocess(image))
        return pixels

    @torch.no_grad()
    def encode_image(self, pixels: Tensor, want: frozenset[str] = frozenset()) -> TeacherOutput:
        """Unit embeddings of (B, 3, H, W) pixels.

        Raises:
            RecipeError: if tokens or q/k/v are wanted.
        """
        if want:
            raise RecipeError(f"teacher 'ensemble' has no {', '.join(sorted(want))}.")
        parts = [
            member.encode_image(self._layout.of(number, pixels).contiguous()).embedding
            for number, member in enumerate(self._members)
        ]
        return TeacherOutput(embedding=self._joined(parts))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (K, D) of K sentences."""
        return self._joined([member.encode_text(texts) for member in self._members])

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        """(B, D) of the members' (B, D_m)."""
        return torch.cat([root * normalize(part.float(), dim=1) for root, part in zip(self._roots, parts)], dim=1)


def build(config: EnsembleConfig, context: edgefw.BuildContext) -> EnsembleTeacher:
    """Put the members, which are built already, side by side."""
    members: Sequence[Teacher] = context.inner
    return EnsembleTeacher(members, config.shares, _spec(config, [member.spec for member in members]))


def _spec(config: EnsembleConfig, specs: Sequence[TeacherSpec]) -> TeacherSpec:
    shares, names = config.shares, [member.name for member in config.members]
    mean = math.fsum(share * spec.logit_scale for share, spec in zip(shares, specs))
    facts = [[spec.fingerprint, spec.preprocessing, share] for share, spec in zip(shares, specs)]
    licences = [spec.licence for spec in specs]
    return TeacherSpec(
        width=sum(spec.width for spec in specs),
        image_size=Layout(specs).size,
        logit_scale=mean if config.logit_scale is None else config.logit_scale,
        fingerprint=hashlib.sha256(json.dumps(["ensemble", facts]).encode()).hexdigest(),
        preprocessing="; ".join(f"{name}: {spec.preprocessing}" for name, spec in zip(names, specs)),
        licence=_listed(names, licences) if len(set(licences)) > 1 else licences[0],
        unlicensed=tuple(f"members[{at}].{key}" for at, spec in enumerate(specs) for key in unlicensed(spec)),
        source=" + ".join(f"{share:.3g} x {spec.source or name}" for name, share, spec in zip(names, shares, specs)),
    )


def _listed(names: Sequence[str], values: Sequence[str]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in zip(names, values))


def inner(config: EnsembleConfig) -> list[edgefw.Inner]:
    """The members as techniques."""
    must = frozenset({"embedding", "text"})
    return [
        edgefw.Inner(
            keys=("members", number),
            kind=edgefw.Kind.TEACHER,
            name=member.name,
            options=member.options,
            must=must,
        )
        for number, member in enumerate(config.members)
    ]


@edgefw.hookimpl
def edgefw_register_teachers(register: Register) -> None:
    """Offer the teacher."""
    register(
        edgefw.Technique(
            name="ensemble",
            config=EnsembleConfig,
            build=build,
            provides=frozenset({"embedding", "text"}),
            inner=inner,
            requires=("torch",),
            install='pip install "edgefw[train]"',
            licence="those of the members' weights",
        )
    )
