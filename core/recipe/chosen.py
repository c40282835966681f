"""What a recipe chose: techniques with their validated options, arranged as the recipe arranges them.

Records only. How they are found stands in `compose`, whether they fit together in `match`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgefw.recipe.keys import Path
from edgefw.recipe.read import Recipe
from edgefw.recipe.schema import Phase
from edgefw.registry.config import TechniqueConfig
from edgefw.registry.kinds import Kind
from edgefw.registry.technique import Technique


@dataclass(frozen=True)
class Chosen:
    """A technique that a recipe names, with its validated options and its key path (`train[0].losses[1]`).

    Attributes:
        inner: the techniques that its options name, in order.
        must: full words that its place demands of it.
        label: of an entry of `export`; empty where the recipe gives none.
    """

    kind: Kind
    technique: Technique[Any, Any]
    config: TechniqueConfig
    path: str
    keys: Path = ()
    inner: tuple[Chosen, ...] = ()
    must: frozenset[str] = frozenset()
    label: str = ""

    @property
    def provides(self) -> frozenset[str]:
        """Words that this config provides, in full: `teacher.tokens`."""
        return frozenset(f"{self.kind}.{word}" for word in self.technique.provided(self.config))

    @property
    def needs(self) -> frozenset[str]:
        """Full words that this config needs."""
        return self.technique.needed(self.config)

    @property
    def channels(self) -> Mapping[str, int]:
        """Modality -> channels that this config, a scheme's, takes of it where that is not the student's number."""
        return self.technique.channels(self.config)

    def all(self) -> list[Chosen]:
        """This one, and those inside it."""
        return [self, *(found for each in self.inner for found in each.all())]


@dataclass(frozen=True)
class ChosenLoss:
    """A loss with its weight in the sum, and its alignment projector, where it has one."""

    weight: float
    loss: Chosen
    projector: Chosen | None = None


@dataclass(frozen=True)
class ChosenPhase:
    """One phase: its own keys in `phase`, and the techniques it names."""

    phase: Phase
    scheme: Chosen
    views: Chosen
    sampler: Chosen
    losses: tuple[ChosenLoss, ...]
    quantizer: Chosen | None = None
    keys: Path = ()


@dataclass(frozen=True)
class Composition:
    """Every technique of a recipe. Modalities keep the recipe's order."""

    recipe: Recipe
    dataset: Chosen
    modalities: Mapping[str, Chosen]
    teacher: Chosen
    student: Chosen
    head: Chosen
    phases: tuple[ChosenPhase, ...]
    backends: tuple[Chosen, ...]
    quantizers: tuple[Chosen, ...] = field(default=())

    def all(self) -> list[Chosen]:
        """Every chosen technique, in the order of the recipe; those inside another one's options follow it."""
        chosen = [self.dataset, *self.modalities.values(), self.teacher, self.student, self.head]
        for phase in self.phases:
            chosen += [phase.scheme, phase.views, phase.sampler]
            for loss in phase.losses:
                chosen += [loss.loss, *([loss.projector] if loss.projector else [])]
            chosen += [phase.quantizer] if phase.quantizer else []
        return [found for each in (*chosen, *self.backends, *self.quantizers) for found in each.all()]
