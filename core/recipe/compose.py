"""From a recipe to its techniques: loaded by name, their options validated, needs matched against provides.

Nothing is built and no weight is read here; `build` makes one chosen piece when somebody needs it. This module knows
where kinds of technique stand in a recipe, and no technique.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edgefw.errors import EdgefwError, MissingDependency, RecipeError
from edgefw.recipe.chosen import Chosen, ChosenLoss, ChosenPhase, Composition
from edgefw.recipe.keys import Path, written
from edgefw.recipe.match import match
from edgefw.recipe.messages import Problem, one_message, problems_in
from edgefw.recipe.read import Recipe, validate
from edgefw.recipe.schema import ExportPiece, LossPiece, Phase, Piece
from edgefw.registry.config import TechniqueConfig
from edgefw.registry.kinds import Kind
from edgefw.registry.requirements import how_to_get, missing_requirements
from edgefw.registry.technique import BuildContext, Technique

__all__ = ["Chosen", "ChosenLoss", "ChosenPhase", "Composition", "build", "check_requirements", "compose"]

if TYPE_CHECKING:
    from edgefw.registry.loading import Registry


def compose(recipe: Recipe, registry: Registry) -> Composition:
    """Load, validate and match the techniques of a recipe.

    Raises:
        EdgefwError: one message with every problem: PluginNotFound and its kin when it is the only one, CapabilityError
            when pieces do not fit together, RecipeError otherwise.
    """
    composition = _Chooser(recipe, registry).composition()
    match(composition, registry)
    return composition


class _Chooser:
    """Loads technique after technique and collects what is wrong, so that one message can tell everything."""

    def __init__(self, recipe: Recipe, registry: Registry) -> None:
        self.recipe = recipe
        self.registry = registry
        self.problems: list[Problem] = []
        self.errors: list[EdgefwError] = []

    def composition(self) -> Composition:
        """All techniques.

        Raises:
            EdgefwError: with every problem found.
        """
        config = self.recipe.config
        found = {
            "dataset": self._choose(Kind.DATASET, config.data, ("data",)),
            "modalities": {
                name: self._choose(Kind.MODALITY, piece, ("modalities", name))
                for name, piece in config.modalities.items()
            },
            "teacher": self._choose(Kind.TEACHER, config.teacher, ("teacher",)),
            "student": self._choose(Kind.STUDENT, config.student, ("student",)),
            "head": self._choose(Kind.PROJECTOR, config.student.head, ("student", "head")),
            "phases": tuple(self._phase(phase, ("train", index)) for index, phase in enumerate(config.train)),
            "backends": self._list(Kind.BACKEND, config.export.backends, ("export", "backends")),
            "quantizers": self._list(Kind.QUANTIZER, config.export.quantizers, ("export", "quantizers")),
        }
        self._refuse()
        return Composition(recipe=self.recipe, **found)  # type: ignore[arg-type]

    def _list(self, kind: Kind, pieces: list[ExportPiece], keys: Path) -> tuple[Chosen, ...]:
        return tuple(
            replace(self._choose(kind, piece, (*keys, index)), label=piece.label or "")
            for index, piece in enumerate(pieces)
        )

    def _phase(self, phase: Phase, keys: Path) -> ChosenPhase:
        quantizer = phase.quantizer
        return ChosenPhase(
            phase=phase,
            scheme=self._choose(Kind.SCHEME, phase.scheme, (*keys, "scheme")),
            views=self._choose(Kind.VIEW, phase.views, (*keys, "views")),
            sampler=self._choose(Kind.SAMPLER, phase.sampler, (*keys, "sampler")),
            losses=tuple(self._loss(loss, (*keys, "losses", index)) for index, loss in enumerate(phase.losses)),
            quantizer=self._choose(Kind.QUANTIZER, quantizer, (*keys, "quantizer")) if quantizer else None,
            keys=keys,
        )

    def _loss(self, loss: LossPiece, keys: Path) -> ChosenLoss:
        projector = loss.projector
        return ChosenLoss(
            weight=loss.weight,
            loss=self._choose(Kind.LOSS, loss, keys),
            projector=self._choose(Kind.PROJECTOR, projector, (*keys, "projector")) if projector else None,
        )

    def _choose(self, kind: Kind, piece: Piece, keys: Path) -> Chosen:
        """The technique; after an error a placeholder that nobody sees, because `_refuse` raises."""
        path = written(keys)
        try:
            technique = self.registry.load(kind, piece.name)
        except EdgefwError as error:
            self.errors.append(error)
            self.problems.append(Problem((*keys, "name"), str(error)))
            return Chosen(kind, Technique(name=piece.name, config=TechniqueConfig, build=_never), _NOTHING, path, keys)
        try:
            config = validate(technique.config, piece.options)
        except ValidationError as error:
            self.problems += problems_in(error, technique.config, piece.options, keys)
            config = _NOTHING
        return Chosen(kind, technique, config, path, keys, self._inner(technique, config, keys))

    def _inner(self, technique: Technique[Any, Any], config: TechniqueConfig, keys: Path) -> tuple[Chosen, ...]:
        found = technique.inner(config) if technique.inner and config is not _NOTHING else ()
        return tuple(
            replace(
                self._choose(each.kind, Piece(name=each.name, **each.options), (*keys, *each.keys)),
                must=frozenset(f"{each.kind}.{word}" for word in each.must),
            )
            for each in found
        )

    def _refuse(self) -> None:
        if not self.problems:
            return
        message = one_message(self.recipe.source, self.problems, self.recipe.places)
        if len(self.problems) == len(self.errors) == 1:
            raise type(self.errors[0])(message) from self.errors[0]
        raise RecipeError(message) from (self.errors[0] if self.errors else None)


_NOTHING = TechniqueConfig()
_LONGEST = 200


def _never(config: TechniqueConfig, context: BuildContext) -> None:
    raise AssertionError("a technique that was not found is never built")


def build(chosen: Chosen, context: BuildContext) -> Any:
    """Make the piece, after those inside it; every error of it starts with the piece's key path.

    Raises:
        MissingDependency: if a package of `requires` is not installed; the message holds the install command.
        EdgefwError: what the technique's own build function raises; RecipeError for a file it cannot use.
    """
    check_requirements(chosen)
    inner = tuple(build(each, context) for each in chosen.inner)
    try:
        return chosen.technique.build(chosen.config, replace(context, path=chosen.path, inner=inner))
    except EdgefwError as error:
        if str(error).startswith(chosen.path):
            raise
        raise type(error)(f"{chosen.path}: {error}") from error
    except OSError as error:
        raise RecipeError(f"{chosen.path}: {_of_a_file(error)}") from error
    except ModuleNotFoundError as error:
        raise MissingDependency(_not_installed(chosen, error.name or str(error))) from error


def _of_a_file(error: OSError) -> str:
    """What the system says about a file, with its name where it fits."""
    name = str(error.filename or "")
    where = f"{name if len(name) <= _LONGEST else name[:_LONGEST] + '...'}: " if name else ""
    return f"{where}{error.strerror or error}. Look at the paths among its options."


def check_requirements(chosen: Chosen) -> None:
    """Refuse a technique whose packages are not installed; imports none of them.

    Raises:
        MissingDependency: with the install command.
    """
    missing = missing_requirements(chosen.technique)
    if missing:
        raise MissingDependency(_not_installed(chosen, missing[0]))


def _not_installed(chosen: Chosen, package: str) -> str:
    install = chosen.technique.install or how_to_get(package) or f"pip install {package}"
    return (
        f"{chosen.path}: {chosen.kind} '{chosen.technique.name}' needs the package '{package}', "
        f"which is not installed. Install it: {install}"
    )
