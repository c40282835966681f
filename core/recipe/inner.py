"""Techniques inside the options of another one, where there is no recipe: those of a bundle's teacher.

In a recipe `compose` finds them, and gathers every problem; here the first problem ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edgefw.errors import RecipeError
from edgefw.recipe.chosen import Chosen
from edgefw.recipe.keys import written
from edgefw.recipe.messages import one_message, problems_in
from edgefw.recipe.read import validate

if TYPE_CHECKING:
    from edgefw.registry.config import TechniqueConfig
    from edgefw.registry.loading import Registry
    from edgefw.registry.technique import Inner, Technique


def inner_techniques(
    technique: Technique[Any, Any], config: TechniqueConfig, path: str, registry: Registry
) -> tuple[Chosen, ...]:
    """What `config` names, in order, with validated options.

    Args:
        technique: the outer one.
        config: its options.
        path: where it stands, for messages.
        registry: where the inner ones come from.

    Raises:
        EdgefwError: if one is not installed, or its options are wrong.
    """
    found = technique.inner(config) if technique.inner else ()
    return tuple(_chosen(each, f"{path}.{written(each.keys)}", registry) for each in found)


def _chosen(inner: Inner, path: str, registry: Registry) -> Chosen:
    technique, options = registry.load(inner.kind, inner.name), dict(inner.options)
    try:
        config = validate(technique.config, options)
    except ValidationError as error:
        raise RecipeError(one_message(path, problems_in(error, technique.config, options), {})) from error
    return Chosen(inner.kind, technique, config, path, inner=inner_techniques(technique, config, path, registry))
