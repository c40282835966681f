"""Licences of a run's inputs: what the recipe states, what stands in the record, and what nobody has said.

A licence changes no answer, so stating one repeats no stage but the report. What training recorded is therefore brought
up to date here. It knows key paths and specs, and no technique.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgefw.contracts.licence import UNKNOWN, unlicensed
from edgefw.errors import EdgefwWarning

if TYPE_CHECKING:
    from edgefw.recipe.chosen import Chosen, Composition
    from edgefw.stages.context import StageContext

RECORDED = "stated_licences"
"""Key of the training's result under which stands what the recipe stated at that time."""

_WORD = "licence"


def stated(composition: Composition) -> dict[str, str]:
    """Key path -> licence, of those that the recipe states: {"teacher.members[0].licence": "MIT"}."""
    found: dict[str, str] = {}
    for chosen in _inputs(composition).values():
        for each, name in _options(chosen):
            value = getattr(each.config, name)
            if value != type(each.config).model_fields[name].default:
                found[f"{each.path}.{name}"] = str(value)
    return found


def inputs(context: StageContext, train: Mapping[str, Any]) -> dict[str, Any]:
    """Teacher, student and data as training recorded them, with their licences of now; None before a training.

    Pieces are built only if the recipe states other licences than it did then.
    """
    recorded = {name: train.get(name) for name in _inputs(context.composition)}
    if not train or stated(context.composition) == train.get(RECORDED, {}):
        return recorded
    now = _of_now(context)
    return {name: {**(part or {}), _WORD: now[name]} for name, part in recorded.items()}


def warn_of_unknown(context: StageContext) -> None:
    """One warning that names every input whose licence nobody states, and the key that would state it."""
    named = [text for name, chosen in _inputs(context.composition).items() for text in _unknown(context, name, chosen)]
    if named:
        text = f"nobody states the licence of {', '.join(named)}. The bundle will call it unknown."
        warnings.warn(text, EdgefwWarning, stacklevel=3)


def _unknown(context: StageContext, name: str, chosen: Chosen) -> Iterator[str]:
    places = {f"{each.path}.{key}" for each, key in _options(chosen)}
    for key in _unlicensed(context, name):
        path = f"{chosen.path}.{key}"
        yield (
            f"{name} (set {path})"
            if path in places
            else f"{name} ('{chosen.technique.name}' has no {path} to state it)"
        )


def _unlicensed(context: StageContext, name: str) -> tuple[str, ...]:
    if name == "data":
        return (_WORD,) if context.pieces.dataset.licence == UNKNOWN else ()
    return unlicensed(context.pieces.teacher.spec if name == "teacher" else context.pieces.student_spec)


def _of_now(context: StageContext) -> dict[str, str]:
    pieces = context.pieces
    return {
        "teacher": pieces.teacher.spec.licence,
        "student": pieces.student_spec.licence,
        "data": pieces.dataset.licence,
    }


def _inputs(composition: Composition) -> dict[str, Chosen]:
    return {"teacher": composition.teacher, "student": composition.student, "data": composition.dataset}


def _options(chosen: Chosen) -> Iterator[tuple[Chosen, str]]:
    """A technique and those inside it, each with every option of its that states a licence."""
    for each in chosen.all():
        for name in type(each.config).model_fields:
            if name.endswith(_WORD):
                yield each, name
