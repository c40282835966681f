"""Do the techniques of a recipe fit together? Needs against provides, and each kind in its place.

Everything is decided from words (`edgefw.registry.capabilities`) before any weight is read. Numbers (widths, grids) are
not matched here: they are known once pieces are built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edgefw.errors import CapabilityError, EdgefwError
from edgefw.recipe.chosen import Chosen, ChosenLoss, ChosenPhase, Composition
from edgefw.recipe.messages import Problem, one_message
from edgefw.registry.discovery import FIRST_PARTY
from edgefw.registry.kinds import Kind

if TYPE_CHECKING:
    from edgefw.registry.loading import Registry
    from edgefw.registry.technique import Technique

_GROUPS = frozenset({"sampler.groups", "sampler.views"})
_LEVELS = ("module", "program", "onnx")


@dataclass(frozen=True)
class Scope:
    """What the neighbours of a piece provide.

    Attributes:
        words: full words that are provided.
        because: a full word, or a whole kind -> why a word of it is not there, for the message.
    """

    words: frozenset[str]
    because: Mapping[str, str]

    def why_not(self, word: str) -> str:
        """Why a word is missing, as a clause."""
        return self.because.get(word) or self.because.get(word.split(".")[0]) or "nothing in the recipe provides it"

    def plus(self, words: frozenset[str], because: Mapping[str, str]) -> Scope:
        """The scope of a place further in."""
        return Scope(self.words | words, {**self.because, **because})


def match(composition: Composition, registry: Registry) -> None:
    """Refuse techniques that do not fit together.

    Raises:
        CapabilityError: one message with every misfit, each with what would fit.
    """
    problems = list(_problems(composition, registry))
    if problems:
        recipe = composition.recipe
        raise CapabilityError(one_message(recipe.source, problems, recipe.places))


def _problems(composition: Composition, registry: Registry) -> Iterator[Problem]:
    outer = _run_scope(composition)
    for chosen in (composition.dataset, *composition.modalities.values(), composition.teacher, composition.student):
        yield from _unmet(chosen, outer, registry)
    yield from _inner(composition, outer, registry)
    yield from _misplaced_projector(composition.head, "head", registry)
    yield from _unmet(composition.head, outer, registry)
    yield from _sections(composition)
    for index, phase in enumerate(composition.phases):
        yield from _phase(phase, _phase_scope(phase, index, outer), composition, registry)
    yield from _export(composition, outer, registry)


def _inner(composition: Composition, outer: Scope, registry: Registry) -> Iterator[Problem]:
    """Techniques inside another one's options: what they need, and what their place demands."""
    for chosen in (found for each in composition.all() for found in each.inner):
        missing = sorted(chosen.must - chosen.provides)
        if missing:
            fitting = _fitting(chosen.kind, registry, None, missing[0].split(".")[1])
            text = f"this place needs {', '.join(missing)}; {_provided(chosen)}. {fitting}"
            yield Problem((*chosen.keys, "name"), text)
        yield from _unmet(chosen, outer, registry)


def _run_scope(composition: Composition) -> Scope:
    config = composition.recipe.config
    modalities = list(composition.modalities)
    facts = {
        "run.labels": (config.curate is not None, "the recipe has no curate section"),
        "run.texts": (
            config.curate is not None or config.evaluate.labels is not None,
            "the recipe has neither curate.labels nor evaluate.labels",
        ),
        "run.pairs": (len(modalities) > 1, f"the recipe has one modality, {modalities[0]}"),
    }
    because = {word: reason for word, (_, reason) in facts.items()}
    because |= {str(chosen.kind): _provided(chosen) for chosen in (composition.teacher, composition.student)}
    words = frozenset(word for word, (holds, _) in facts.items() if holds)
    return Scope(words | composition.teacher.provides | composition.student.provides, because)


def _phase_scope(phase: ChosenPhase, index: int, outer: Scope) -> Scope:
    pieces = [phase.scheme, phase.views, phase.sampler, *(loss.loss for loss in phase.losses)]
    pieces += [phase.quantizer] if phase.quantizer else []
    words = frozenset().union(*(piece.provides for piece in pieces))
    words |= {"run.reference"} if index else set()
    because = {
        "run.reference": "this is the first phase",
        "sampler": _provided(phase.sampler),
        "view": _provided(phase.views),
        "scheme": _provided(phase.scheme),
        "loss": "no loss of this phase provides it",
        "quantizer": _provided(phase.quantizer) if phase.quantizer else "this phase has no quantizer",
        "projector": "it has no projector",
    }
    return outer.plus(frozenset(words), because)


def _phase(phase: ChosenPhase, scope: Scope, composition: Composition, registry: Registry) -> Iterator[Problem]:
    for chosen in (phase.scheme, phase.views, phase.sampler):
        yield from _unmet(chosen, scope, registry)
    for loss in phase.losses:
        yield from _loss(loss, scope, registry)
    if phase.quantizer:
        yield from _training_quantizer(phase.quantizer)
        yield from _unmet(phase.quantizer, scope, registry)
    yield from _selection(phase)
    student = composition.student
    if phase.phase.gradient_checkpointing and "student.checkpointing" not in student.provides:
        text = f"gradient checkpointing needs student.checkpointing; {_provided(student)}. Set it to false."
        yield Problem((*phase.keys, "gradient_checkpointing"), text)


def _selection(phase: ChosenPhase) -> Iterator[Problem]:
    """The validation split has no groups: a phase of nothing but group losses has no validation loss to select by."""
    if phase.phase.select.by == "loss" and all(loss.loss.needs & _GROUPS for loss in phase.losses):
        names = ", ".join(f"'{loss.loss.technique.name}'" for loss in phase.losses)
        text = (
            f"loss is not measured on the validation split, which has no groups for {names}. "
            "Use agreement, accuracy or last, or add a loss that needs no groups."
        )
        yield Problem((*phase.keys, "select", "by"), text)


def _loss(loss: ChosenLoss, scope: Scope, registry: Registry) -> Iterator[Problem]:
    if loss.projector is None:
        yield from _unmet(loss.loss, scope, registry)
        return
    inner = scope.plus(loss.projector.provides, {"projector": _provided(loss.projector)})
    if "projector.alignment" not in loss.loss.needs:
        text = f"loss '{loss.loss.technique.name}' uses no alignment projector. Remove the key."
        yield Problem(loss.projector.keys, text)
        return
    misplaced = list(_misplaced_projector(loss.projector, "alignment", registry))
    yield from misplaced
    if not misplaced:
        yield from _unmet(loss.loss, inner, registry)
    yield from _unmet(loss.projector, inner, registry)


def _misplaced_projector(chosen: Chosen, word: str, registry: Registry) -> Iterator[Problem]:
    if f"projector.{word}" not in chosen.provides:
        fitting = _fitting(Kind.PROJECTOR, registry, None, word)
        text = f"this place needs projector.{word}; {_provided(chosen)}. {fitting}"
        yield Problem((*chosen.keys, "name"), text)


def _training_quantizer(chosen: Chosen) -> Iterator[Problem]:
    if "quantizer.module" not in chosen.provides:
        text = (
            f"a phase needs quantizer.module; {_provided(chosen)}. It works after training: "
            f"move it to export.quantizers."
        )
        yield Problem((*chosen.keys, "name"), text)


def _export(composition: Composition, outer: Scope, registry: Registry) -> Iterator[Problem]:
    backends, quantizers = composition.backends, composition.quantizers
    words = frozenset().union(*(chosen.provides for chosen in (*backends, *quantizers)))
    because = {"backend": "; ".join(map(_provided, backends)), "quantizer": "no quantizer of export provides it"}
    scope = outer.plus(words, because)
    for chosen in backends:
        yield from _unmet(chosen, scope, registry)
    for quantizer in quantizers:
        unmet = list(_unmet(quantizer, scope, registry))
        yield from unmet or _export_quantizer(quantizer, scope)
    yield from _idle(composition)
    yield from _float_only(composition, registry)
    yield from _heat(composition)
    for pieces in (backends, quantizers):
        yield from _alike(pieces)


def _alike(pieces: Sequence[Chosen]) -> Iterator[Problem]:
    """Entries of one technique that no label tells apart."""
    entries = [(chosen.technique.name, chosen.label) for chosen in pieces]
    for index, (name, label) in enumerate(entries):
        if entries.index((name, label)) < index:
            chosen = pieces[index]
            stands = f"stands twice with the label '{label}'" if label else "stands twice"
            text = (
                f"{chosen.kind} '{name}' {stands}; their artefacts would share a name. Give one of them "
                f"{'another' if label else 'a'} label, for example {{name: {name}, label: {_unused(name, entries)}}}."
            )
            yield Problem((*chosen.keys, "label" if label else "name"), text)


def _unused(name: str, entries: Sequence[tuple[str, str]]) -> str:
    """A label that no entry of a technique has."""
    return next(word for word in map(str, range(2, len(entries) + 3)) if (name, word) not in entries)


def _heat(composition: Composition) -> Iterator[Problem]:
    if composition.recipe.config.export.heat and "student.map" not in composition.student.provides:
        text = f"heat maps need student.map; {_provided(composition.student)}. Set it to false, or take a student with a map."
        yield Problem(("export", "heat"), text)


def _idle(composition: Composition) -> Iterator[Problem]:
    """Post-training quantizers behind a training that has quantised the network already."""
    trained = composition.phases[-1].quantizer
    if trained is None:
        return
    for chosen in composition.quantizers:
        text = (
            f"quantizer '{chosen.technique.name}' finds no float file, because the last phase trains with quantizer "
            f"'{trained.technique.name}'. Remove one of the two."
        )
        yield Problem((*chosen.keys, "name"), text)


def _float_only(composition: Composition, registry: Registry) -> Iterator[Problem]:
    """A backend that cannot compile what the last phase's quantizer leaves."""
    trained = composition.phases[-1].quantizer
    for chosen in composition.backends:
        if trained is not None and "backend.float-only" in chosen.provides:
            fitting = _backends_of_any_network(registry)
            text = (
                f"backend '{chosen.technique.name}' compiles float networks only, and the last phase trains with quantizer "
                f"'{trained.technique.name}'. Backends that fit: {fitting}."
            )
            yield Problem((*chosen.keys, "name"), text)


def _backends_of_any_network(registry: Registry) -> str:
    refs = [ref for ref in registry.refs(Kind.BACKEND) if ref.distribution == FIRST_PARTY]
    techniques = [registry.load(Kind.BACKEND, f"{FIRST_PARTY}:{ref.name}") for ref in refs]
    return ", ".join(technique.name for technique in techniques if "float-only" not in technique.provides)


def _export_quantizer(chosen: Chosen, scope: Scope) -> Iterator[Problem]:
    levels = [level for level in _LEVELS[1:] if f"quantizer.{level}" in chosen.provides]
    if not levels:
        text = f"export needs quantizer.onnx or quantizer.program; {_provided(chosen)}. "
        yield Problem((*chosen.keys, "name"), text + "It works during training: move it to the quantizer of a phase.")
    elif not any(f"backend.{level}" in scope.words for level in levels):
        needed = " or ".join(f"backend.{level}" for level in levels)
        name = chosen.technique.name
        text = f"quantizer '{name}' needs {needed}; {scope.why_not('backend.')}. Add a backend that provides it."
        yield Problem((*chosen.keys, "name"), text)


def _sections(composition: Composition) -> Iterator[Problem]:
    config, teacher = composition.recipe.config, composition.teacher
    if "teacher.text" in teacher.provides:
        return
    if config.curate is not None:
        yield Problem(("curate",), f"curation needs teacher.text; {_provided(teacher)}. Remove the section.")
    if config.evaluate.labels is not None:
        text = f"label names need teacher.text; {_provided(teacher)}. Set it to null."
        yield Problem(("evaluate", "labels"), text)


def _unmet(chosen: Chosen, scope: Scope, registry: Registry) -> Iterator[Problem]:
    missing = sorted(chosen.needs - scope.words)
    if missing:
        reasons = dict.fromkeys(scope.why_not(word) for word in missing)
        text = f"{chosen.kind} '{chosen.technique.name}' needs {', '.join(missing)}; {'; '.join(reasons)}. "
        yield Problem(chosen.keys, text + _fitting(chosen.kind, registry, scope))


def _provided(chosen: Chosen) -> str:
    words = sorted(word.split(".")[1] for word in chosen.provides)
    return f"{chosen.kind} '{chosen.technique.name}' provides {', '.join(words) or 'nothing'}"


def _fitting(kind: Kind, registry: Registry, scope: Scope | None, word: str = "") -> str:
    """What would fit, among edgefw's own techniques: strangers' modules are not imported for a message."""
    refs = registry.refs(kind)
    names = [
        ref.name for ref in refs if ref.distribution == FIRST_PARTY and _fits(kind, ref.name, registry, scope, word)
    ]
    others = any(ref.distribution != FIRST_PARTY for ref in refs)
    more = f" Others: `edgefw list-plugins --kind {kind}`." if others else ""
    return f"{kind.plural.capitalize()} that fit: {', '.join(names) or 'none'}.{more}"


def _fits(kind: Kind, name: str, registry: Registry, scope: Scope | None, word: str) -> bool:
    try:
        technique = registry.load(kind, f"{FIRST_PARTY}:{name}")
    except EdgefwError:
        return False
    needs = {need for need in _usual_needs(technique) if not need.startswith("projector.")}
    return (scope is None or needs <= scope.words) and (not word or word in technique.provides)


def _usual_needs(technique: Technique[Any, Any]) -> frozenset[str]:
    """What a technique needs with its defaults; where it has none for some option, whatever it may need."""
    try:
        return technique.needed(technique.config())
    except ValidationError:
        return technique.needs
